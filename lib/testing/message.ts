import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { isHeader, type PropertyValue } from '../host/index.ts'

/** By name; an array for a header that is there more than once. */
export type Headers = Readonly<Record<string, string | readonly string[]>>
/** Text is UTF-8. */
export type Bytes = string | Uint8Array

/** A request, as the client sends it. */
export interface RequestInput {
  /** By default `GET` */
  readonly method?: string
  /** With the query. By default `/` */
  readonly path?: string
  /** By default `http` */
  readonly scheme?: 'http' | 'https'
  /** The host. By default `example.test` */
  readonly authority?: string
  readonly headers?: Headers
  readonly body?: Bytes
  readonly trailers?: Headers
}

/** A response, as the application or the upstream gives it. */
export interface ResponseInput {
  /** By default 200 */
  readonly status?: number
  readonly headers?: Headers
  /** Text or bytes are there as a whole; of anything else each item is a chunk of a stream. */
  readonly body?: Bytes | Iterable<Bytes> | AsyncIterable<Bytes>
  readonly trailers?: Headers
}

/** A request, as the filters let it go on. */
export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly scheme: string
  readonly authority: string
  /** Without what belongs to one connection alone */
  readonly headers: Record<string, string | string[]>
  readonly body: string
  readonly bytes: Buffer
  readonly trailers: Record<string, string | string[]>
}

/** A response, as the client receives it. */
export interface SeenResponse {
  /** 0 when there was none */
  readonly status: number
  readonly headers: Record<string, string | string[]>
  readonly body: string
  readonly bytes: Buffer
  /** Of a body that is there as a whole, one */
  readonly chunks: readonly Buffer[]
  readonly trailers: Record<string, string | string[]>
}

/**
 * Name, value, …, the names in lower case.
 *
 * @param place for the error
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function pairsOf(headers: Headers = {}, place: string): string[] {
  const pairs: string[] = []
  for (const [key, values] of Object.entries(headers)) {
    const name = key.toLowerCase()
    for (const value of [values].flat()) {
      if (name.startsWith(':') || typeof value !== 'string' || !isHeader(name, value)) {
        throw new FST_WASM_OPTIONS_INVALID(`${place}.${key}: ${JSON.stringify(value)} is no header that HTTP allows`)
      }
      pairs.push(name, value)
    }
  }
  return pairs
}

/** Name, value, … as an object, without pseudo-headers. */
export function headersOf(pairs: readonly string[]): Record<string, string | string[]> {
  const headers = new Map<string, string | string[]>()
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!
    const value = pairs[i + 1]!
    if (name.startsWith(':')) continue
    const present = headers.get(name)
    headers.set(name, present === undefined ? value : [...[present].flat(), value])
  }
  return Object.fromEntries(headers)
}

/** The value of a header, or `''`. */
export function headerOf(pairs: readonly string[], name: string): string {
  for (let i = 0; i < pairs.length; i += 2) if (pairs[i] === name) return pairs[i + 1]!
  return ''
}

/**
 * @param place for the error
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function bytesOf(bytes: Bytes | undefined, place: string): Buffer {
  if (bytes === undefined) return Buffer.alloc(0)
  // Each for itself: the overloads of `from` want it so.
  if (typeof bytes === 'string') return Buffer.from(bytes)
  if (bytes instanceof Uint8Array) return Buffer.from(bytes)
  throw new FST_WASM_OPTIONS_INVALID(`${place}: must be text or bytes`)
}

/**
 * What a test gives as a property, as filters are handed it. Text is UTF-8.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function propertyOf(path: string, value: PropertyValue): PropertyValue {
  if (typeof value === 'string') return Buffer.from(value)
  const isKnown =
    typeof value === 'boolean' ||
    typeof value === 'bigint' ||
    Number.isSafeInteger(value) ||
    value instanceof Uint8Array ||
    isPairs(value)
  if (isKnown) return value
  throw new FST_WASM_OPTIONS_INVALID(`properties.${path}: must be text, bytes, an integer, a boolean, or { pairs }`)
}

function isPairs(value: unknown): boolean {
  const { pairs } = (value ?? {}) as { readonly pairs?: unknown }
  return Array.isArray(pairs) && pairs.length % 2 === 0 && pairs.every((text) => typeof text === 'string')
}
