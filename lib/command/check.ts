import { stat } from 'node:fs/promises'
import { relative } from 'node:path'
import type { ConfigFileContent } from '../config/file.ts'
import type { PluginDeclaration } from '../config/schema.ts'
import { loadPlugins } from '../gateway/plugins.ts'
import type { Plugin } from '../host/index.ts'
import { checkReport } from './check-report.ts'
import type { Values } from './command-line.ts'
import { readConfigFiles } from './config-files.ts'
import { configurationsOf, pluginsOf } from './entries.ts'
import { printable } from './printable.ts'
import { progress } from './progress.ts'
import { isolated, type Start, StartLog, start, withoutPlugin } from './start.ts'

/** What came of a check. */
export interface Check {
  readonly ok: boolean
  readonly files: readonly string[]
  /** What is wrong with the files, with its place */
  readonly errors: readonly string[]
  /** Sections that say nothing to this gateway */
  readonly ignored: readonly string[]
  readonly plugins: readonly CheckedPlugin[]
}

export interface CheckedPlugin {
  readonly name: string
  readonly file: string
  readonly ok: boolean
  /** Why its module cannot be loaded */
  readonly error: string | null
  readonly module: CheckedModule | null
  /** One for each different configuration; a plugin that has none is started without one */
  readonly starts: readonly CheckedStart[]
}

export interface CheckedModule {
  /** Bytes */
  readonly size: number
  readonly sha256: string
  readonly abi_version: string
}

export interface CheckedStart extends Start {
  /** What has the configuration: `routes.1`, `global_rules.log`, … */
  readonly places: readonly string[]
}

/** Checks configuration files, the modules that they name, and that the filters start with their configurations. */
export async function check(files: readonly string[], { json }: Values): Promise<number> {
  const { contents, problems: errors } = await readConfigFiles(files)
  const plugins = await checkPlugins(contents)
  const result: Check = {
    ok: errors.length === 0 && plugins.every(({ ok }) => ok),
    files,
    errors,
    ignored: [...new Set(contents.flatMap(({ ignored }) => ignored))],
    plugins
  }
  process.stdout.write(json ? `${JSON.stringify(result, undefined, 2)}\n` : checkReport(result))
  return result.ok ? 0 : 1
}

async function checkPlugins(contents: readonly ConfigFileContent[]): Promise<CheckedPlugin[]> {
  const upstreams = new Set(contents.flatMap(({ upstreams = [] }) => upstreams.map(({ id }) => String(id))))
  const loaded = new Map<string, Plugin>()
  const checked: CheckedPlugin[] = []
  const declarations = [...pluginsOf(contents).values()]
  for (const [i, declaration] of declarations.entries()) {
    const { name, file } = declaration
    progress(`checking ${printable(name)} (${i + 1} of ${declarations.length})`)
    // Which is said among the errors.
    if (file === undefined) continue
    const shown = { name, file: shownPath(file) }
    try {
      // With those that are loaded: a module that two plugins have is compiled once.
      const plugins = await loadPlugins([declaration], isolated(new StartLog(), upstreams), { before: loaded })
      const plugin = plugins.get(name)!
      loaded.set(name, plugin)
      const { digest, abiVersion } = plugin.module
      const module = { size: (await stat(file)).size, sha256: digest, abi_version: abiVersion }
      const starts = startAll(plugin, declaration, contents, upstreams)
      checked.push({ ...shown, ok: starts.every(({ ok }) => ok), error: null, module, starts })
    } catch (error) {
      checked.push({ ...shown, ok: false, error: withoutPlugin((error as Error).message), module: null, starts: [] })
    }
  }
  progress('')
  return checked
}

/** As it is seen from here, unless it stands elsewhere. */
function shownPath(file: string): string {
  const path = relative('', file)
  return path.startsWith('..') ? file : path
}

function startAll(
  plugin: Plugin,
  declaration: PluginDeclaration,
  contents: readonly ConfigFileContent[],
  upstreams: ReadonlySet<string>
): CheckedStart[] {
  const configurations = configurationsOf(declaration, contents)
  if (configurations.length === 0) return [{ places: [], ...start(plugin, undefined, upstreams) }]
  return configurations.map(({ bytes, places }) => ({ places, ...start(plugin, bytes, upstreams) }))
}
