import { readFile } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import { FST_WASM_CONFIG_UNREADABLE, FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { withEnvironment, withEnvironmentIn } from './environment.ts'
import { loadResources } from './resources.ts'
import { type Admin, ConfigFile, type Listen, type Options, type PluginDeclaration } from './schema.ts'
import { withStubs } from './stubs.ts'
import { validate } from './validate.ts'

/** Sections of APISIX's own two files that say nothing to this gateway. */
const OTHERS = new Set([
  // config.yaml
  ...['apisix', 'deployment', 'nginx_config', 'etcd', 'plugins', 'stream_plugins', 'plugin_attr', 'discovery'],
  ...['graphql', 'ext-plugin', 'xrpc'],
  // apisix.yaml
  ...['consumers', 'consumer_groups', 'plugin_metadata', 'ssls', 'stream_routes', 'protos', 'secrets']
])

/** The first bytes of a WebAssembly module. */
const MODULE = Buffer.from('\0asm')
/** So many errors of YAML are told. */
const MAX_ERRORS = 3

/** What a configuration file holds: the lists of the options, and what is said there alone. */
export interface ConfigFileContent extends Omit<Options, 'config' | 'foreign_functions'> {
  readonly path: string
  readonly listen?: Listen
  readonly admin?: Admin
  /** Sections of APISIX that have no effect here. */
  readonly ignored: readonly string[]
  /** Whether its last line is `#END`, as APISIX wants it: what is written half has none. */
  readonly hasEnd: boolean
  /** Whether there is nothing in it, as in one that is about to be written. */
  readonly isEmpty: boolean
}

/**
 * Reads a configuration file, YAML or (by its ending) JSON: `wasm.plugins` as in APISIX, and the resource lists.
 * `${{NAME}}` and `${{NAME:=default}}` are taken from the environment: in the text of YAML, in the values of JSON. Files
 * that it names are relative to it.
 *
 * @throws FST_WASM_CONFIG_UNREADABLE, FST_WASM_OPTIONS_INVALID
 */
export async function readConfigFile(path: string): Promise<ConfigFileContent> {
  const isJson = extname(path) === '.json'
  let content: unknown
  let hasEnd = false
  let isEmpty = false
  try {
    const bytes = await readFile(path)
    if (bytes.subarray(0, MODULE.length).equals(MODULE)) {
      throw new Error('it is a WebAssembly module, and no configuration; the command `inspect` describes modules')
    }
    const text = bytes.toString().replace(/^\uFEFF/, '')
    content = (isJson ? readJson : readYaml)(text) ?? {}
    hasEnd = /(?:^|\n)#END\s*$/.test(text)
    isEmpty = text.trim() === ''
  } catch (error) {
    throw new FST_WASM_CONFIG_UNREADABLE(path, (error as Error).message, { cause: error as Error })
  }
  const ignored: string[] = []
  if (typeof content === 'object' && !Array.isArray(content)) {
    refuseMisplaced(content as Record<string, unknown>, path)
    const sections = Object.entries(content!).filter(([key]) => !OTHERS.has(key) || !ignored.push(key))
    // A section in which everything is commented out.
    content = Object.fromEntries(sections.filter(([, section]) => section !== null))
  }
  const found = ({ wasm, store, ...rest }: ConfigFile): ConfigFileContent => {
    const here = (file: string) => resolve(dirname(path), file)
    const plugins = (wasm?.plugins ?? []).map((plugin) =>
      plugin.file === undefined ? plugin : { ...plugin, file: here(plugin.file) }
    )
    const kept = store && { store: store.file === undefined ? store : { ...store, file: here(store.file) } }
    return { path, ...rest, ...kept, plugins, ignored, hasEnd, isEmpty }
  }
  try {
    const valid = validated(content, path)
    refuseObjects(valid.wasm?.plugins ?? [], path)
    return found(valid)
  } catch (error) {
    const rest = withStubs(content, reasonOf(error as Error).slice(path.length + 2))
    if (rest !== undefined) remains.set(error as Error, found(rest))
    throw error
  }
}

/** A section that counts where it stands first: that of the first file which has it. */
export function firstOf<Key extends 'listen' | 'admin' | 'metrics' | 'inspector'>(
  files: readonly ConfigFileContent[],
  section: Key
): ConfigFileContent[Key] | undefined {
  return files.find((file) => file[section] !== undefined)?.[section]
}

/** By an error: what is left of the file that it is about, without what is wrong. */
const remains: WeakMap<Error, ConfigFileContent> = new WeakMap()

/** What is left of a file that `readConfigFile` refused, so that it can be said what else is wrong. */
export function remainsOf(error: Error): ConfigFileContent | undefined {
  return remains.get(error)
}

/**
 * Reads the configuration files that the option `config` names.
 *
 * @throws FST_WASM_CONFIG_UNREADABLE, FST_WASM_OPTIONS_INVALID; the latter with what is wrong with all of them
 */
export async function readConfigFiles(options: Options): Promise<ConfigFileContent[]> {
  const results = await Promise.allSettled(configFilesOf(options).map(readConfigFile))
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  const contents = results.flatMap((result) =>
    result.status === 'fulfilled' ? [result.value] : (remainsOf(result.reason) ?? [])
  )
  if (errors.length === 0) return contents
  const problems = errors.map(reasonOf)
  // What refers to a file that is not there at all cannot be told from what refers to nothing.
  if (contents.length === results.length) problems.push(...wrongTogether(options, contents))
  if (problems.length === 1) throw errors[0]
  throw new FST_WASM_OPTIONS_INVALID(problems.join('; '), { cause: errors[0]! })
}

function wrongTogether(options: Options, contents: readonly ConfigFileContent[]): string[] {
  try {
    loadResources(options, contents)
    return []
  } catch (error) {
    return [reasonOf(error as Error)]
  }
}

function reasonOf({ message }: Error): string {
  return message.replace(/^The configuration is invalid: /, '')
}

/** The files that the option `config` names. */
export function configFilesOf({ config }: Options): string[] {
  return config === undefined ? [] : [config].flat()
}

function validated(content: unknown, path: string): ConfigFile {
  try {
    return validate(ConfigFile, content, '')
  } catch (error) {
    throw new FST_WASM_OPTIONS_INVALID(`${path}: ${reasonOf(error as Error)}`, { cause: error as Error })
  }
}

function readJson(text: string): unknown {
  const missing = new Set<string>()
  const content = text.trim() === '' ? {} : withEnvironmentIn(JSON.parse(text), (name) => missing.add(name))
  refuseMissing([...missing])
  return content
}

function readYaml(text: string): unknown {
  const lines = text.split('\n')
  const missing: string[] = []
  const replaced = lines.map((line, i) =>
    // What is commented out needs no environment.
    line.trimStart().startsWith('#') ? line : withEnvironment(line, (name) => missing.push(`${name} (line ${i + 1})`))
  )
  refuseMissing(missing)
  const lineCounter = new LineCounter()
  const document = parseDocument(replaced.join('\n'), { lineCounter, prettyErrors: true, merge: true })
  if (document.errors.length > 0) throw new Error(summaryOf(document.errors.map(({ message }) => message.trim())))
  return document.toJS()
}

/** One mistake leads to others, which say less. */
function summaryOf(messages: readonly string[]): string {
  const shown = messages.slice(0, MAX_ERRORS)
  const more = messages.length - shown.length
  return shown.join('; ') + (more > 0 ? `; and ${more} more` : '')
}

/** Plugins stand under `wasm`. APISIX has a list of this name too, in which no plugin has a module. */
function refuseMisplaced({ plugins }: Record<string, unknown>, path: string): void {
  if (!Array.isArray(plugins)) return
  const i = plugins.findIndex((plugin) => typeof plugin === 'object' && plugin !== null && 'file' in plugin)
  if (i === -1) return
  throw new FST_WASM_OPTIONS_INVALID(`${path}: plugins[${i}]: in a file plugins stand under wasm: wasm.plugins`)
}

/** What is given in code alone. */
function refuseObjects(plugins: readonly PluginDeclaration[], path: string): void {
  for (const [i, { module, conf_schema }] of plugins.entries()) {
    const place = `${path}: wasm.plugins[${i}]`
    if (module !== undefined) {
      const reason = 'is bytes, which are given in code; in a file, `file` is the path of the module'
      throw new FST_WASM_OPTIONS_INVALID(`${place}.module ${reason}`)
    }
    if (conf_schema !== undefined) {
      throw new FST_WASM_OPTIONS_INVALID(`${place}.conf_schema is given in code, with definePlugin`)
    }
  }
}

function refuseMissing(names: readonly string[]): void {
  if (names.length === 0) return
  throw new Error(`the environment has no ${names.join(', ')}, and there is no default`)
}
