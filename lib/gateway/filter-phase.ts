import { type Body, type HeaderMap, type HttpContext, Outcome, type PropertyMap } from '../host/index.ts'

/** What an exchange was like before a phase of a filter. */
export interface Snapshot {
  readonly requestHeaders: readonly string[]
  readonly responseHeaders: readonly string[] | undefined
  /** Absent: there were none. */
  readonly requestTrailers?: readonly string[] | undefined
  readonly properties: PropertyMap | undefined
  readonly interrupted: boolean
}

/** One request and its response, as far as the phases of its filters need them. */
export interface FilteredExchange {
  readonly plan: {
    /** By index of the filter, whether the exchange goes on without it when it fails. */
    failsOpen(index: number): boolean
    /** Bytes of a body that may be held for the filters, 0: no limit. */
    readonly bodyLimit: number
  }
  readonly closed: boolean
  readonly interrupted: boolean
  readonly hasRequestBody: boolean
  readonly mayHaveTrailers: boolean
  /** The body, once a filter has read it. */
  requestBody: Body | undefined
  readonly rawBody: { read(): Promise<Buffer> }
  readonly requestTrailers: HeaderMap
  readonly responseTrailers: {
    /** The filters of the body run first. */
    wait(): void
    /** The body has ended. */
    flush(): void
  }
  /** Called when a filter answers or resets while the response passes and no filter is at work on it. */
  onInterrupt: (() => void) | undefined
  /** Whether a filter takes no part in the exchange. */
  isOut(index: number): boolean
  /** The HTTP context of a filter, opened when there is none; `undefined` when the filter does not start. */
  context(index: number): HttpContext | undefined
  /** The context of a filter, when a phase has opened it. */
  opened(index: number): HttpContext | undefined
  enter(context: HttpContext): void
  /** The phase that is under way waits, for however long. */
  wait(): void
  leave(): void
  snapshot(): Snapshot
  fail(index: number, failure?: Error, before?: Snapshot): typeof Outcome.Failed | typeof Outcome.Continue
}

/**
 * Runs one phase of a filter in its exchange.
 *
 * @param phase calls the context
 * @returns how it ended; `Continue` as well when it failed and its exchanges go on without it
 */
export function within(
  exchange: FilteredExchange,
  index: number,
  phase: (context: HttpContext, endOfStream: boolean) => Outcome | Promise<Outcome>,
  endOfStream: boolean
): Outcome | Promise<Outcome> {
  const before = exchange.plan.failsOpen(index) ? exchange.snapshot() : undefined
  const context = exchange.context(index)
  if (context === undefined) return exchange.fail(index, undefined, before)
  exchange.enter(context)
  const outcome = phase(context, endOfStream)
  if (typeof outcome === 'number') return settle(exchange, index, outcome, before)
  exchange.wait()
  return outcome.then((settled) => settle(exchange, index, settled, before))
}

function settle(exchange: FilteredExchange, index: number, outcome: Outcome, before: Snapshot | undefined): Outcome {
  exchange.leave()
  return outcome === Outcome.Failed ? exchange.fail(index, undefined, before) : outcome
}
