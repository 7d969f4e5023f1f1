import type { ConfigFileContent } from '../config/file.ts'
import type { PluginDeclaration } from '../config/schema.ts'
import { configurationOf } from '../config/validate.ts'

/** A configuration that a plugin is to start with, and everything that has it. */
export interface Configuration {
  readonly bytes: Buffer
  /** Where it stands: `routes.1`, `global_rules.log`, … */
  readonly places: string[]
}

const LISTS = ['global_rules', 'services', 'plugin_configs', 'routes'] as const

/** The plugins that files declare, by name. */
export function pluginsOf(contents: readonly ConfigFileContent[]): Map<string, PluginDeclaration> {
  const plugins = new Map<string, PluginDeclaration>()
  for (const { plugins: declared = [] } of contents) {
    for (const plugin of declared) if (!plugins.has(plugin.name)) plugins.set(plugin.name, plugin)
  }
  return plugins
}

/**
 * The different configurations of a plugin. Merging a service and a plugin_config into a route takes entries as they are, so
 * these are all that a gateway may start. Those that are not valid are left out.
 */
export function configurationsOf(plugin: PluginDeclaration, contents: readonly ConfigFileContent[]): Configuration[] {
  const configurations = new Map<string, Configuration>()
  for (const { place, entry } of entriesOf(plugin, contents)) {
    let bytes: Buffer
    try {
      bytes = configurationOf(entry, place, plugin)
    } catch {
      continue
    }
    const key = bytes.toString('latin1')
    const known = configurations.get(key)
    if (known === undefined) configurations.set(key, { bytes, places: [place] })
    else known.places.push(place)
  }
  return [...configurations.values()]
}

function* entriesOf(
  { name, conf }: PluginDeclaration,
  contents: readonly ConfigFileContent[]
): Iterable<{ place: string; entry: { conf?: string | object } }> {
  if (conf !== undefined) yield { place: `plugins.${name}.conf`, entry: { conf } }
  for (const content of contents) {
    for (const list of LISTS) {
      for (const [i, { id, plugins }] of (content[list] ?? []).entries()) {
        if (plugins === undefined || !Object.hasOwn(plugins, name)) continue
        const entry = plugins[name]!
        if (entry._meta?.disable !== true) yield { place: `${list}.${id ?? `arr_${i + 1}`}`, entry }
      }
    }
  }
}
