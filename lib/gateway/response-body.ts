import { pipeline, Readable, Transform } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { Outcome } from '../host/index.ts'
import { type Exchange, within } from './exchange.ts'

const EMPTY = Buffer.alloc(0)

/** Bytes of a payload that is there as a whole; `undefined` for a stream. */
export function bufferedLength(payload: unknown): number | undefined {
  if (payload === undefined || payload === null) return 0
  if (typeof payload === 'string') return Buffer.byteLength(payload)
  return Buffer.isBuffer(payload) ? payload.length : undefined
}

/** Lets go of a payload that is not sent, so that what it comes from is closed. */
export function discard(payload: unknown): void {
  const stream = payload as { destroy?: () => void; cancel?: () => Promise<void>; on?: (...args: unknown[]) => void }
  if (typeof payload !== 'object' || payload === null || Buffer.isBuffer(payload)) return
  if (typeof stream.destroy === 'function') {
    stream.on?.('error', () => {})
    stream.destroy()
  } else if (typeof stream.cancel === 'function') {
    stream.cancel().catch(() => {})
  }
}

/**
 * Passes a body that is there as a whole through the response body callbacks: to each filter the body as a chunk, then,
 * as APISIX does, an empty last one. An empty body is the last one alone.
 *
 * @param indexes of the filters in the plan
 * @returns the body; or how it ended when a filter does not let it go on
 */
export async function filterBuffer(
  exchange: Exchange,
  indexes: readonly number[],
  payload: unknown
): Promise<Buffer | Outcome> {
  let bytes = Buffer.isBuffer(payload) ? payload : Buffer.from((payload as string | null | undefined) ?? '')
  for (const index of indexes) {
    let chunk: Buffer | Outcome = EMPTY
    if (bytes.length > 0) chunk = await filterChunk(exchange, index, bytes, false)
    if (!Buffer.isBuffer(chunk)) return chunk
    const last = await filterChunk(exchange, index, EMPTY, true)
    if (!Buffer.isBuffer(last)) return last
    bytes = last.length === 0 ? chunk : chunk.length === 0 ? last : Buffer.concat([chunk, last])
  }
  return bytes
}

/**
 * Passes a stream through the response body callbacks, chunk by chunk as they come, with an empty last one. Nothing is
 * held but the chunk that a filter pauses at; the source is closed when the client leaves.
 *
 * @param refuse what the stream ends with when a filter does not let the body go on
 * @returns the stream; what is none as it is, for Fastify to refuse
 */
export function filterStream(
  exchange: Exchange,
  indexes: readonly number[],
  payload: unknown,
  refuse: (exchange: Exchange, outcome: Outcome) => Error
): unknown {
  const source = sourceOf(payload)
  if (source === undefined) return payload
  const pass = async (chunk: Buffer, endOfStream: boolean, callback: (error?: Error | null, data?: Buffer) => void) => {
    let bytes = chunk
    for (const index of indexes) {
      // A filter has kept the chunk to itself: there is nothing to show the others.
      if (bytes.length === 0 && !endOfStream) break
      const filtered = await filterChunk(exchange, index, bytes, endOfStream)
      if (!Buffer.isBuffer(filtered)) return callback(refuse(exchange, filtered))
      bytes = filtered
    }
    // A stream takes an empty chunk for none.
    if (bytes.length === 0) callback()
    else callback(null, bytes)
  }
  const transform = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      pass(chunk, false, callback).catch(callback)
    },
    flush(callback) {
      pass(EMPTY, true, callback).catch(callback)
    }
  })
  // Not `.pipe`: that would leave the source open when the client leaves.
  pipeline(source, transform, () => {})
  return transform
}

/** As Fastify tells streams from what is none. */
function sourceOf(payload: unknown): Readable | undefined {
  if (typeof (payload as Readable).pipe === 'function') return payload as Readable
  const web = payload as ReadableStream<Uint8Array>
  return typeof web.getReader === 'function' ? Readable.fromWeb(web) : undefined
}

async function filterChunk(
  exchange: Exchange,
  index: number,
  bytes: Buffer,
  endOfStream: boolean
): Promise<Buffer | Outcome> {
  const context = exchange.opened(index)!
  const body = { bytes, changed: false }
  const outcome = await within(exchange, context, (context) => context.responseBodyPhase(body, endOfStream))
  if (outcome === Outcome.Failed) return exchange.fail(index)
  return outcome === Outcome.Continue ? body.bytes : outcome
}
