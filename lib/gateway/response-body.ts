import { pipeline, Readable, Transform } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { FST_WASM_RESPONSE_BODY_TOO_LARGE } from '../errors.ts'
import { GrowingBytes } from '../growing-bytes.ts'
import { type Body, Outcome } from '../host/index.ts'
import { now, setImmediate } from '../real-time.ts'
import { type FilteredExchange, within } from './filter-phase.ts'

const EMPTY = Buffer.alloc(0)

/** So long, in milliseconds, chunks of a stream that are there already are worked on before others have their turn. */
const TURN_MS = 10

/**
 * Passes a body that is there as a whole through the response body callbacks. With APISIX's semantics a filter gets it as a
 * chunk and then an empty last one, as APISIX does; with Envoy's it is the last one itself.
 *
 * @param indexes of the filters in the plan
 * @returns the body; or how it ended when a filter does not let it go on
 */
export async function filterBuffer(
  exchange: FilteredExchange,
  indexes: readonly number[],
  payload: unknown
): Promise<Buffer | Outcome> {
  let bytes = Buffer.isBuffer(payload) ? payload : Buffer.from((payload as string | null | undefined) ?? '')
  for (const index of indexes) {
    let chunk: Buffer | Outcome = EMPTY
    let rest = bytes
    if (bytes.length > 0 && !exchange.opened(index)!.isEnvoy) {
      chunk = await filterChunk(exchange, index, bytes, false)
      if (!Buffer.isBuffer(chunk)) return chunk
      rest = EMPTY
    }
    const last = await filterChunk(exchange, index, rest, true)
    if (!Buffer.isBuffer(last)) return last
    bytes = last.length === 0 ? chunk : chunk.length === 0 ? last : Buffer.concat([chunk, last])
  }
  return bytes
}

/**
 * Passes a stream through the response body callbacks, chunk by chunk as they come, with an empty last one. Nothing is
 * held but what a filter pauses at; the source is closed when the client leaves.
 *
 * @param refuse what the stream ends with when a filter does not let the body go on
 * @returns the stream; what is none as it is, for Fastify to refuse
 */
export function filterStream<Exchange extends FilteredExchange>(
  exchange: Exchange,
  indexes: readonly number[],
  payload: unknown,
  refuse: (exchange: Exchange, outcome: Outcome) => Error
): unknown {
  const source = sourceOf(payload)
  if (source === undefined) return payload
  const filters = new StreamFilters(exchange, indexes)
  exchange.responseTrailers.wait()
  const transform = new Transform({
    // One chunk at a time: what has to wait does so in the source, which has no object for each bit.
    highWaterMark: 1,
    transform(chunk: Buffer, _encoding, callback) {
      filters.write(chunk, false, callback)
    },
    flush(callback) {
      filters.write(EMPTY, true, () => {
        exchange.onInterrupt = undefined
        exchange.responseTrailers.flush()
        callback()
      })
    }
  })
  filters.begin({
    pass: (bytes) => transform.push(bytes),
    refuse: (outcome) => transform.destroy(refuse(exchange, outcome)),
    fail: (error) => transform.destroy(error)
  })
  // Not `.pipe`: that would leave the source open when the client leaves.
  pipeline(source, transform, () => {})
  return transform
}

/** What becomes of a stream. */
interface Target {
  pass(bytes: Buffer): void
  refuse(outcome: Outcome): void
  fail(error: Error): void
}

/** The response body callbacks of a stream: one after the other, whether a chunk comes or a filter lets go of one. */
class StreamFilters {
  #target: Target | undefined
  readonly #exchange: FilteredExchange
  readonly #indexes: readonly number[]
  /** What a filter has let go of, which the filters after it have not seen: nothing that comes later may overtake it. */
  readonly #released: GrowingBytes[] = []
  #turn: Promise<void> = Promise.resolve()
  #refused = false
  /** Milliseconds since others had their turn */
  #spent = 0

  constructor(exchange: FilteredExchange, indexes: readonly number[]) {
    this.#exchange = exchange
    this.#indexes = indexes
    for (const [i, index] of indexes.entries()) {
      this.#released[i] = new GrowingBytes()
      const released = ({ bytes, limit }: Body) => {
        if (limit !== undefined) {
          this.#enqueue(async () => exchange.fail(index, new FST_WASM_RESPONSE_BODY_TOO_LARGE(limit)))
          return
        }
        this.#released[i]!.add(bytes)
        this.#enqueue(() => this.#flush(i))
      }
      exchange.opened(index)!.released = released
    }
    const interrupt = () => this.#enqueue(async () => (this.#exchange.interrupted ? Outcome.Stop : Outcome.Continue))
    exchange.onInterrupt = interrupt
  }

  begin(target: Target): void {
    this.#target = target
  }

  write(chunk: Buffer, endOfStream: boolean, done: () => void): void {
    this.#enqueue(async () => {
      const begin = now()
      const outcome = await this.#run(chunk, endOfStream, 0)
      this.#spent += now() - begin
      if (this.#spent > TURN_MS) {
        this.#spent = 0
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
      if (outcome === Outcome.Continue || outcome === Outcome.Hold) done()
      return outcome
    })
  }

  #enqueue(step: () => Promise<Outcome>): void {
    const turn = this.#turn.then(async () => {
      if (this.#refused) return
      const outcome = await step()
      if (outcome === Outcome.Continue || outcome === Outcome.Hold) return
      this.#refused = true
      this.#target!.refuse(outcome)
    })
    this.#turn = turn.catch((error: Error) => this.#target!.fail(error))
  }

  async #flush(i: number): Promise<Outcome> {
    const released = this.#released[i]!
    return released.size === 0 ? Outcome.Continue : this.#run(released.take(), false, i + 1)
  }

  /** @param from the first filter that has not seen the bytes */
  async #run(chunk: Buffer, endOfStream: boolean, from: number): Promise<Outcome> {
    let bytes = chunk
    for (let i = from; i < this.#indexes.length; i++) {
      // A filter has kept the chunk to itself: there is nothing to show the others.
      if (bytes.length === 0 && !endOfStream) return Outcome.Continue
      const flushed = await this.#flush(i)
      if (flushed === Outcome.Stop || flushed === Outcome.Failed) return flushed
      const filtered = await filterChunk(this.#exchange, this.#indexes[i]!, bytes, endOfStream)
      if (!Buffer.isBuffer(filtered)) return filtered
      bytes = filtered
    }
    // A stream takes an empty chunk for its end.
    if (bytes.length > 0) this.#target!.pass(bytes)
    return Outcome.Continue
  }
}

/** As Fastify tells streams from what is none. */
function sourceOf(payload: unknown): Readable | undefined {
  if (typeof (payload as Readable).pipe === 'function') return payload as Readable
  const web = payload as ReadableStream<Uint8Array>
  return typeof web.getReader === 'function' ? Readable.fromWeb(web) : undefined
}

async function filterChunk(
  exchange: FilteredExchange,
  index: number,
  bytes: Buffer,
  endOfStream: boolean
): Promise<Buffer | Outcome> {
  // It has failed in the middle of the body, and the rest goes on without it.
  if (exchange.isOut(index)) return bytes
  const body: Body = { bytes, changed: false }
  const outcome = await within(exchange, index, (context, end) => context.responseBodyPhase(body, end), endOfStream)
  if (body.limit !== undefined) return exchange.fail(index, new FST_WASM_RESPONSE_BODY_TOO_LARGE(body.limit))
  const { bodyLimit } = exchange.plan
  if (outcome === Outcome.Hold && bodyLimit > 0 && body.bytes.length > bodyLimit) {
    return exchange.fail(index, new FST_WASM_RESPONSE_BODY_TOO_LARGE(bodyLimit))
  }
  return outcome === Outcome.Continue ? body.bytes : outcome
}
