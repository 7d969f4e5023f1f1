import { GrowingBytes } from '../../growing-bytes.ts'
import {
  type HttpCall,
  type HttpCallClient,
  type HttpCallDone,
  type HttpCallResponse,
  type Logger,
  LogRate
} from '../../host/index.ts'
import { withoutHopByHop } from '../hop-by-hop.ts'
import { discard } from '../payload.ts'
import type { Agents } from './agents.ts'
import { type UpstreamResponse, WholeBody } from './attempt.ts'
import type { CallHosts } from './call-hosts.ts'
import { send } from './client.ts'
import type { Upstreams } from './upstreams.ts'

/** Lines of failed calls in a second: a filter may make thousands. */
const MAX_LINES = 100

/** How many calls that failed are logged. */
export function failedCalls(log: Logger): LogRate {
  return new LogRate(MAX_LINES, (dropped) => log.warn({}, `${dropped} more calls have failed in a second`))
}

const MAX_RESPONSE_BODY = 8 * 1024 * 1024

/** Sends what filters ask for with `proxy_http_call`: to a configured upstream by its id, or to a `host[:port]`. */
export class HttpCalls implements HttpCallClient {
  readonly #agents: Agents
  readonly #log: Logger
  readonly #upstreams: Upstreams
  readonly #lines: LogRate

  constructor(agents: Agents, log: Logger, upstreams: Upstreams) {
    this.#agents = agents
    this.#log = log
    this.#upstreams = upstreams
    this.#lines = failedCalls(log)
  }

  /** Sends calls that may reach some hosts only. */
  within(hosts: CallHosts): HttpCallClient {
    return { dispatch: (call, done) => this.dispatch(call, done, hosts) }
  }

  /** @param hosts what it may reach; absent: anything */
  dispatch(call: HttpCall, done: HttpCallDone, hosts?: CallHosts): (() => void) | undefined {
    const pseudo: Record<string, string> = {}
    const { headers } = call
    let first = 0
    while (first < headers.length && headers[first]!.charCodeAt(0) === 58 /* : */) {
      pseudo[headers[first]!] = headers[first + 1]!
      first += 2
    }
    const upstream = this.#upstreams.find(call.upstream, schemeOf(call), hosts)
    if (upstream === undefined) return undefined

    let finished = false
    const finish: HttpCallDone = (response, reason) => {
      if (finished) return
      finished = true
      clearTimeout(timer)
      done(response, reason)
    }
    const fail = (error: Error) => {
      if (finished) return
      if (this.#lines.take()) {
        this.#log.warn(
          { err: error, upstream: call.upstream },
          `http call to ${call.upstream} failed: ${error.message}`
        )
      }
      finish(undefined, error.message)
      abort()
    }
    const timer =
      call.timeout === 0
        ? undefined
        : setTimeout(() => fail(new Error(`no answer in ${call.timeout} ms`)), call.timeout)
    const request = {
      upstream,
      method: pseudo[':method']!,
      path: pseudo[':path']!,
      headers: withoutLength(withoutHopByHop(headers.slice(first))),
      // Without one, that of the node: an id is no host.
      host: pseudo[':authority'] ?? '',
      body: call.body.length === 0 ? null : call.body,
      timeouts: upstream.timeouts(undefined),
      trailers: call.trailers
    }
    const abort = send(this.#agents, request, (error, response) => {
      if (error !== null || response === undefined) fail(error!)
      else if (finished) discard(response.body)
      else collect(response, call, finish, fail)
    })
    return () => {
      finished = true
      clearTimeout(timer)
      abort()
    }
  }
}

/** The scheme of an address that is called: `:scheme` is there once at most. */
export function schemeOf({ headers }: HttpCall): 'http' | 'https' {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === ':scheme') return headers[i + 1] === 'https' ? 'https' : 'http'
  }
  return 'http'
}

function collect(
  { statusCode, headers, body, trailers }: UpstreamResponse,
  call: HttpCall,
  finish: (response: HttpCallResponse) => void,
  fail: (error: Error) => void
): void {
  const received = new GrowingBytes()
  const take = (chunk: Buffer): void => {
    if (received.size + chunk.length > MAX_RESPONSE_BODY) {
      fail(new Error(`the response is longer than ${MAX_RESPONSE_BODY} bytes`))
      return
    }
    if (!call.received(chunk.length)) {
      fail(new Error('the answers that are under way hold too much'))
      return
    }
    received.add(chunk)
  }
  // After a failure it is too late to finish.
  const end = () =>
    finish({
      headers: [':status', String(statusCode), ...headers],
      body: received.bytes,
      trailers
    })
  if (body instanceof WholeBody) {
    take(body.bytes)
    end()
    return
  }
  body.on('error', fail)
  body.on('data', take)
  body.on('end', end)
}

/** The length is that of the body, whatever the filter says. */
function withoutLength(headers: readonly string[]): string[] {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'content-length') kept.push(headers[i]!, headers[i + 1]!)
  }
  return kept
}
