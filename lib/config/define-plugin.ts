import type { Static, TSchema } from 'typebox'
import type { PluginDeclaration } from './schema.ts'

/** A declaration with the schema of its configurations. */
export type DefinedPlugin<Name extends string = string, Schema extends TSchema = TSchema> = PluginDeclaration & {
  readonly name: Name
  readonly conf_schema: Schema
}

/** What a plugin is configured with, by its definition. */
export type ConfOf<Plugin> = Plugin extends { readonly conf_schema: infer Schema extends TSchema }
  ? Static<Schema>
  : unknown

/**
 * Declares a plugin whose configurations are checked: on routes, in services, plugin_configs and global rules, in code, in
 * files and by the Admin API, when the server starts or a change arrives. For their types in `config.wasm` add the plugin
 * to `RegisteredPlugins`.
 *
 * @param definition what `plugins` takes, with a schema of TypeBox as `conf`
 * @returns an entry for `plugins`
 */
export function definePlugin<const Name extends string, Schema extends TSchema>(
  definition: Omit<PluginDeclaration, 'name' | 'conf' | 'conf_schema'> & { readonly name: Name; readonly conf: Schema }
): DefinedPlugin<Name, Schema> {
  const { conf: conf_schema, ...declaration } = definition
  return { ...declaration, conf_schema }
}
