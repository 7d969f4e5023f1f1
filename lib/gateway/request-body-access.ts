import { Readable } from 'node:stream'
import type { Body } from '../host/index.ts'
import type { Exchange } from './exchange.ts'
import { parseBodyAgain } from './route-context.ts'

/**
 * After the access phase: a body that a filter has changed reaches the handler as the route's own parser makes it. What
 * no parser has read is put back for whoever will read it.
 *
 * @throws what the route's schema says against the body
 */
export async function parseChangedBody(exchange: Exchange, body: Body): Promise<void> {
  const { rawBody, request, reply } = exchange
  if (!rawBody.consumed && exchange.hasRequestBody) rawBody.putBack(body.bytes, body.changed)
  else if (body.changed) await parseBodyAgain(request, reply, Readable.from([body.bytes], { objectMode: false }))
}
