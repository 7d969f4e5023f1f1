import { FST_WASM_REQUEST_BODY_TOO_LARGE } from '../errors.ts'
import { type HttpContext, Outcome } from '../host/index.ts'
import { type FilteredExchange, within } from './filter-phase.ts'

/**
 * Runs the request callbacks of some filters of an exchange, one filter after the other: its headers, then, when it asked
 * for it, the body.
 *
 * @param indexes of the filters in the plan
 * @returns how it ended, at once when nothing had to wait
 * @throws FST_WASM_REQUEST_BODY_TOO_LARGE (as a rejection)
 */
export function runRequestPhase(
  exchange: FilteredExchange,
  indexes: readonly number[],
  from: number = 0
): Outcome | Promise<Outcome> {
  for (let i = from; i < indexes.length; i++) {
    if (exchange.isOut(indexes[i]!)) continue
    const outcome = runFilter(exchange, indexes[i]!)
    if (typeof outcome !== 'number') {
      return outcome.then((settled) =>
        settled === Outcome.Continue ? runRequestPhase(exchange, indexes, i + 1) : settled
      )
    }
    if (outcome !== Outcome.Continue) return outcome
  }
  return Outcome.Continue
}

const requestHeaders = (context: HttpContext, endOfStream: boolean) => context.requestHeaders(endOfStream)

function runFilter(exchange: FilteredExchange, index: number): Outcome | Promise<Outcome> {
  const outcome = within(exchange, index, requestHeaders, !exchange.hasRequestBody)
  if (typeof outcome !== 'number') return outcome.then((settled) => afterHeaders(exchange, index, settled))
  return afterHeaders(exchange, index, outcome)
}

function afterHeaders(exchange: FilteredExchange, index: number, outcome: Outcome): Outcome | Promise<Outcome> {
  if (outcome !== Outcome.Continue || exchange.isOut(index)) return outcome
  const context = exchange.opened(index)!
  const takesBody = context.takesRequestBody(exchange.hasRequestBody)
  if (!takesBody && !(context.takesRequestTrailers && exchange.mayHaveTrailers)) return outcome
  return runBodyAndTrailers(exchange, index, takesBody)
}

async function runBodyAndTrailers(exchange: FilteredExchange, index: number, takesBody: boolean): Promise<Outcome> {
  exchange.requestBody ??= {
    bytes: exchange.hasRequestBody ? await exchange.rawBody.read() : Buffer.alloc(0),
    changed: false
  }
  const body = exchange.requestBody
  if (exchange.closed) return Outcome.Stop
  const context = exchange.opened(index)!
  const hasTrailers = context.takesRequestTrailers && exchange.requestTrailers.entries().length > 0
  let outcome: Outcome = Outcome.Continue
  if (takesBody) {
    // APISIX's filters are promised the end of the stream with their one call.
    const endOfStream = !(hasTrailers && context.isEnvoy)
    outcome = await within(exchange, index, (context, end) => context.requestBodyPhase(body, end), endOfStream)
    if (body.limit !== undefined) throw new FST_WASM_REQUEST_BODY_TOO_LARGE(body.limit)
  }
  if (outcome === Outcome.Continue && hasTrailers && !exchange.isOut(index)) {
    outcome = await within(exchange, index, (context) => context.requestTrailers(), true)
  }
  return outcome
}
