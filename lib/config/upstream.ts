import { createSecureContext } from 'node:tls'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import type { Upstream } from './schema.ts'
import { nodesOf } from './validate.ts'

/** The variables that `chash` may take its key from: those that a request has before its upstream is chosen. */
const VARIABLE =
  /^(?:(?:request_|document_)?uri|server_(?:addr|name|port|protocol)|remote_(?:addr|port)|query_string|args|host(?:name)?|scheme|request_method|(?:arg|http|cookie)_.+)$/
const HEADER = /^[a-zA-Z0-9-_]+$/
/** `name: value` */
const HEADER_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/
/** What a `host` header may say. */
const HOST = /^[0-9A-Za-z._:[\]-]+$/
const PATH = /^\/[\x21-\x7e]*$/

/**
 * Checks what the schema cannot say of an upstream.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function checkUpstream(upstream: Upstream, place: string): void {
  nodesOf(upstream, place)
  if (upstream.pass_host === 'rewrite' && upstream.upstream_host === undefined) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: pass_host "rewrite" needs an upstream_host`)
  }
  checkHash(upstream, place)
  checkTls(upstream, place)
  checkText(upstream.upstream_host, HOST, `${place}.upstream_host`, 'a host')
  checkText(upstream.checks?.active.host, HOST, `${place}.checks.active.host`, 'a host')
  checkText(upstream.checks?.active.http_path, PATH, `${place}.checks.active.http_path`, 'a path, with spaces as %20')
  for (const [i, header] of (upstream.checks?.active.req_headers ?? []).entries()) {
    if (HEADER_LINE.test(header)) continue
    throw new FST_WASM_OPTIONS_INVALID(`${place}.checks.active.req_headers[${i}] must be "name: value"`)
  }
}

function checkText(text: string | undefined, form: RegExp, place: string, what: string): void {
  if (text === undefined || form.test(text)) return
  throw new FST_WASM_OPTIONS_INVALID(`${place}: ${JSON.stringify(text)} is not ${what}`)
}

function checkHash({ type, hash_on = 'vars', key }: Upstream, place: string): void {
  if (type !== 'chash') return
  if (key === undefined) throw new FST_WASM_OPTIONS_INVALID(`${place}: type "chash" needs a key`)
  const isFit = hash_on === 'vars_combinations' ? key.includes('$') : (hash_on === 'vars' ? VARIABLE : HEADER).test(key)
  if (!isFit) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}.key: ${JSON.stringify(key)} is nothing to hash on with "${hash_on}"`)
  }
}

function checkTls({ tls }: Upstream, place: string): void {
  const { client_cert: cert, client_key: key } = tls ?? {}
  if ((cert === undefined) !== (key === undefined)) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}.tls: client_cert and client_key need each other`)
  }
  if (cert === undefined || key === undefined) return
  try {
    createSecureContext({ cert, key })
  } catch (error) {
    const reason = `client_cert and client_key cannot be used: ${(error as Error).message}`
    throw new FST_WASM_OPTIONS_INVALID(`${place}.tls: ${reason}`, { cause: error as Error })
  }
}
