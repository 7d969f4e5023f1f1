import type { HeaderMap } from './header-map.ts'

/** W3C's Trace Context: what tells a server which request of another one led to this one. */
const HEADERS = ['traceparent', 'tracestate'] as const

/**
 * Passes the trace of a request on to a call that is made for it, where the call says nothing of one by itself.
 *
 * @param headers of the call: name, value, …
 */
export function passTraceOn(request: HeaderMap, headers: string[]): void {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === HEADERS[0]) return
  const parent = request.get(HEADERS[0])
  if (parent === undefined) return
  headers.push(HEADERS[0], parent)
  const state = request.get(HEADERS[1])
  if (state !== undefined) headers.push(HEADERS[1], state)
}
