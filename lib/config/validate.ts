import { isIP } from 'node:net'
import type { Static, TSchema } from 'typebox'
import { Settings } from 'typebox/system'
import Value from 'typebox/value'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { NodeList, NodeMap, type PluginDeclaration, type PluginEntry, type Upstream } from './schema.ts'

const MAX_ERRORS = 1000

/**
 * Checks a value against a schema, and answers a copy with the defaults filled in.
 *
 * @param place what the paths in the error begin with: `routes[2]`, or nothing
 * @throws FST_WASM_OPTIONS_INVALID naming every place that is wrong, and what stands there
 */
export function validate<Schema extends TSchema>(schema: Schema, value: unknown, place: string): Static<Schema> {
  let copy: unknown
  try {
    copy = Value.Default(schema, copyOf(value))
  } catch (error) {
    const reason = `cannot be read: ${(error as Error).message}`
    throw new FST_WASM_OPTIONS_INVALID(`${place === '' ? 'the configuration' : place} ${reason}`, {
      cause: error as Error
    })
  }
  const problems = problemsOf(schema, copy, place)
  if (problems.length > 0) throw new FST_WASM_OPTIONS_INVALID(problems.join('; '))
  return copy as Static<Schema>
}

/** A deep copy. TypeBox's own lacks keys like `constructor`, unknown ones and those of a filter's configuration alike. */
function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf)
  if (typeof value !== 'object' || value === null) return value
  // Instances of classes stay what they are: those whose prototype has one itself.
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copyOf(item)]))
}

/** Keys that the options do not have, and some look for there. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['wasm', 'what files have under wasm stands in the options themselves'],
  ['prefix', 'for one part of the application register the gateway in a plugin of that part, which has the prefix']
])

function problemsOf(schema: TSchema, value: unknown, place: string): string[] {
  if (Value.Check(schema, value)) return []
  const messages = new Map<string, string[]>()
  for (const { keyword, instancePath, message, params } of errorsOf(schema, value)) {
    if (keyword === 'additionalProperties' || keyword === 'anyOf') continue
    let text = message
    let path = pathOf(place, instancePath)
    // An unknown key is reported by its own path, as a schema that is false.
    if (keyword === 'boolean')
      text = ELSEWHERE.has(path) ? `is no known key: ${ELSEWHERE.get(path)}` : 'is no known key'
    if (keyword === 'pattern' && path.endsWith('.sha256')) text = 'must be 64 hexadecimal digits, as sha256sum has them'
    if (keyword === 'type' && text === 'must be object' && /(^|\.)plugins\.[^.[]+$/.test(path)) text += ': { conf: … }'
    if (keyword === 'enum') text = `must be one of ${(params as { allowedValues: string[] }).allowedValues.join(', ')}`
    if (keyword === 'required') {
      for (const name of (params as { requiredProperties: string[] }).requiredProperties) {
        add(messages, path, `property "${name}" is required`)
      }
      continue
    }
    if (path === '') path = 'the configuration'
    add(messages, path, text)
  }
  return [...messages].map(([path, texts]) => {
    const instancePath = [...new Set(texts)].join(' or ')
    return `${path === '' ? '' : `${path}: `}${instancePath}`
  })
}

/** TypeBox stops at eight, by a setting that all who use it share. */
function errorsOf(schema: TSchema, value: unknown): ReturnType<typeof Value.Errors> {
  const { maxErrors } = Settings.Get()
  Settings.Set({ maxErrors: MAX_ERRORS })
  try {
    return Value.Errors(schema, value)
  } finally {
    Settings.Set({ maxErrors })
  }
}

function add(messages: Map<string, string[]>, path: string, text: string): void {
  const texts = messages.get(path)
  if (texts === undefined) messages.set(path, [text])
  else texts.push(text)
}

/** `/a/0/b` below `routes[2]` is `routes[2].a[0].b`. */
function pathOf(place: string, pointer: string): string {
  let path = place
  for (const segment of pointer.split('/').slice(1)) {
    const key = segment.replaceAll('~1', '/').replaceAll('~0', '~')
    if (/^[0-9]+$/.test(key)) path += `[${key}]`
    else path += path === '' ? key : `.${key}`
  }
  return path
}

/**
 * The bytes that a filter reads as its configuration: a string as it is, an object as JSON.
 *
 * @param declaration its semantics: APISIX's want one, Envoy's do not; and its schema
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function configurationOf(
  entry: PluginEntry,
  place: string,
  declaration: Pick<PluginDeclaration, 'semantics' | 'conf_schema'>
): Buffer {
  const { conf } = entry
  const { semantics, conf_schema } = declaration
  const mayBeEmpty = semantics === 'envoy'
  if (conf === undefined) {
    if (mayBeEmpty && conf_schema === undefined) return Buffer.alloc(0)
    throw new FST_WASM_OPTIONS_INVALID(`${place}: property "conf" is required`)
  }
  if (isConfiguration(conf) && (mayBeEmpty || !isEmpty(conf))) {
    const bytes = serialize(conf, `${place}.conf`)
    checkConfiguration(conf, `${place}.conf`, conf_schema)
    return bytes
  }
  const got = ArrayBuffer.isView(conf) ? 'bytes' : (JSON.stringify(conf) ?? String(conf))
  const wanted = mayBeEmpty ? 'a string or an object' : 'a non-empty string or a non-empty object'
  throw new FST_WASM_OPTIONS_INVALID(`${place}.conf must be ${wanted} (got ${got})`)
}

/**
 * Holds a configuration against the schema that its plugin is declared with.
 *
 * @throws FST_WASM_OPTIONS_INVALID with every place that is wrong
 */
export function checkConfiguration(conf: unknown, place: string, schema: TSchema | undefined): void {
  if (schema === undefined) return
  const problems = problemsOf(schema, conf, place)
  if (problems.length > 0) throw new FST_WASM_OPTIONS_INVALID(problems.join('; '))
}

/**
 * A text as it is, an object as JSON.
 *
 * @throws FST_WASM_OPTIONS_INVALID when it has no JSON: a big integer, or itself, is among its values
 */
export function serialize(value: string | object, place: string): Buffer {
  if (typeof value === 'string') return Buffer.from(value)
  let reason = 'it has none'
  try {
    const json = JSON.stringify(value)
    if (json !== undefined) return Buffer.from(json)
  } catch (error) {
    reason = (error as Error).message
  }
  throw new FST_WASM_OPTIONS_INVALID(`${place} cannot be made JSON: ${reason}`)
}

function isConfiguration(value: unknown): value is string | object {
  if (typeof value === 'string') return true
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

function isEmpty(value: string | object): boolean {
  return value === '' || Object.keys(value).length === 0
}

/** A server of an upstream. */
export interface UpstreamNode {
  readonly host: string
  readonly port: number
  /** In proportion to the other nodes'; 0: never picked. */
  readonly weight: number
  /** Nodes with a lower one are picked when none with a higher one is left. */
  readonly priority: number
}

/** The nodes of an upstream, whichever way they are written. */
export function nodesOf(upstream: Upstream, place: string): UpstreamNode[] {
  const { nodes, scheme } = upstream
  const defaultPort = scheme === 'https' ? 443 : 80
  if (Array.isArray(nodes)) {
    return validate(NodeList, nodes, `${place}.nodes`).map(({ host, port, weight, priority = 0 }, i) => {
      const address = parseAddress(host)
      if (isIP(host) === 0 && (address === undefined || address.port !== undefined)) {
        throw new FST_WASM_OPTIONS_INVALID(`${place}.nodes[${i}].host: ${JSON.stringify(host)} is no host`)
      }
      return { host: bare(host), port: port ?? defaultPort, weight, priority }
    })
  }
  return Object.entries(validate(NodeMap, nodes, `${place}.nodes`)).map(([address, weight]) => {
    const parsed = parseAddress(address)
    if (parsed === undefined) {
      throw new FST_WASM_OPTIONS_INVALID(`${place}.nodes: "${address}" is no host:port`)
    }
    return { host: parsed.host, port: parsed.port ?? defaultPort, weight, priority: 0 }
  })
}

/** No name of the DNS is longer (RFC 1035 §2.3.4), with the longest port behind it. */
const MAX_ADDRESS = 253 + ':65535'.length

/** Reads `host`, `host:port`, `[ipv6]` or `[ipv6]:port`; `undefined` when it is neither. */
export function parseAddress(address: string): { host: string; port: number | undefined } | undefined {
  if (address.length > MAX_ADDRESS) return undefined
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$/.exec(address)
  if (match === null) return undefined
  const port = match[2] === undefined ? undefined : Number(match[2])
  if (port !== undefined && (port < 1 || port > 65535)) return undefined
  return { host: bare(match[1]!), port }
}

function bare(host: string): string {
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
}
