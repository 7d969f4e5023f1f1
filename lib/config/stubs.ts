import { ConfigFile } from './schema.ts'
import { validate } from './validate.ts'

/** What stands in place of an object of a list: enough for others to refer to it. */
const STUBS: Readonly<Record<string, (item: object) => object>> = {
  plugins: (item) => ({ ...keyOf(item, 'name'), file: 'unknown' }),
  routes: (item) => ({ ...keyOf(item, 'id'), uri: '/', plugins: {} }),
  services: (item) => keyOf(item, 'id'),
  upstreams: (item) => ({ ...keyOf(item, 'id'), nodes: {} }),
  plugin_configs: (item) => ({ ...keyOf(item, 'id'), plugins: {} }),
  global_rules: (item) => ({ ...keyOf(item, 'id'), plugins: {} })
}

/**
 * The content of a configuration file with stubs in place of what has not the form that it must have, so that all the rest
 * can be looked at; `undefined` where that does not help.
 *
 * @param message what is wrong, as `validate` says it
 */
export function withStubs(content: unknown, message: string): ConfigFile | undefined {
  if (typeof content !== 'object' || content === null) return undefined
  const copy: Record<string, unknown> = { ...content }
  const wasm = { ...(copy.wasm as object | undefined) } as Record<string, unknown>
  for (const [, place, index, key] of message.matchAll(/(?:^|; )(?:((?:wasm\.)?[a-z_]+)\[(\d+)\]|([^\s.:;]+))/g)) {
    if (place === undefined) {
      if (key !== undefined && key !== 'wasm') delete copy[key]
      continue
    }
    const holder = place === 'wasm.plugins' ? wasm : copy
    const list = place.replace('wasm.', '')
    const items = holder[list]
    const stub = STUBS[list]
    if (!Array.isArray(items) || stub === undefined) return undefined
    holder[list] = items.map((item, i) => (i === Number(index) ? stub(item) : item))
  }
  if (copy.wasm !== undefined) copy.wasm = wasm
  try {
    return validate(ConfigFile, copy, '')
  } catch {
    return undefined
  }
}

function keyOf(item: unknown, key: string): object {
  const value = (item as Record<string, unknown> | null)?.[key]
  return typeof value === 'string' || typeof value === 'number' ? { [key]: value } : {}
}
