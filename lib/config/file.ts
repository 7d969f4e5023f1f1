import { readFile } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import { parse } from 'yaml'
import { FST_WASM_CONFIG_UNREADABLE } from '../errors.ts'
import { ConfigFile, type Options } from './schema.ts'
import { validate } from './validate.ts'

/**
 * Reads a configuration file, YAML or (by its ending) JSON: `wasm.plugins` as in APISIX, and the resource lists. Files
 * of modules are relative to it.
 *
 * @throws FST_WASM_CONFIG_UNREADABLE, FST_WASM_OPTIONS_INVALID
 */
export async function readConfigFile(path: string): Promise<Options> {
  let content: unknown
  try {
    const text = await readFile(path, 'utf8')
    content = extname(path) === '.json' ? JSON.parse(text) : (parse(text) ?? {})
  } catch (error) {
    throw new FST_WASM_CONFIG_UNREADABLE(path, (error as Error).message, { cause: error as Error })
  }
  const { wasm, ...lists } = validate(ConfigFile, content, '')
  const plugins = (wasm?.plugins ?? []).map((plugin) =>
    plugin.file === undefined ? plugin : { ...plugin, file: resolve(dirname(path), plugin.file) }
  )
  return { ...lists, plugins }
}
