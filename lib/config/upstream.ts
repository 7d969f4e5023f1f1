import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import type { Upstream } from './schema.ts'
import { nodesOf } from './validate.ts'

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
}
