import { validate } from '../config/validate.ts'
import type { CallHosts } from '../gateway/upstream/call-hosts.ts'
import type { HttpCall, HttpCallClient, HttpCallDone, HttpCallResponse } from '../host/index.ts'
import { setImmediate } from '../real-time.ts'
import { type Bytes, bytesOf, type Headers, headerOf, headersOf, pairsOf, type SeenRequest } from './message.ts'
import { ResponseInput as ResponseSchema } from './schema.ts'
import { type CallRecorder, fakeOf, permits } from './upstreams.ts'

/** What a faked upstream answers. */
export interface UpstreamResponse {
  /** By default 200 */
  readonly status?: number
  readonly headers?: Headers
  readonly body?: Bytes
  readonly trailers?: Headers
}

/** What an http call sends. */
export interface UpstreamRequest extends SeenRequest {
  readonly upstream: string
  /** Milliseconds that the filter gives the call, 0: any number */
  readonly timeout: number
}

/**
 * A faked upstream: what it answers, or a function that does. An `Error` stands for no answer: the call fails, with its message as
 * the reason. What the function throws fails the test.
 */
export type Upstream =
  | UpstreamResponse
  | ((request: UpstreamRequest) => UpstreamResponse | Error | Promise<UpstreamResponse | Error>)

/** An http call of a filter, and what has become of it. */
export interface RecordedHttpCall extends UpstreamRequest {
  /** The filter's name */
  readonly filter: string
  /** `refused`: nothing of that name is faked, or the plugin's `hosts` do not list it */
  state: 'pending' | 'answered' | 'failed' | 'aborted' | 'refused'
  /** Why it failed */
  reason?: string
}

/** Answers the http calls of one filter. */
export class HttpUpstreams implements HttpCallClient {
  readonly #upstreams: Readonly<Record<string, Upstream>>
  readonly #recorder: CallRecorder

  constructor(upstreams: Readonly<Record<string, Upstream>>, recorder: CallRecorder) {
    this.#upstreams = upstreams
    this.#recorder = recorder
  }

  within(hosts: CallHosts): HttpCallClient {
    return { dispatch: (call, done) => this.dispatch(call, done, hosts) }
  }

  dispatch(call: HttpCall, done: HttpCallDone, hosts?: CallHosts): (() => void) | undefined {
    const recorder = this.#recorder
    const request = requestOf(call)
    const record: RecordedHttpCall = { filter: recorder.filter, ...request, state: 'pending' }
    recorder.exchange()?.calls.push(record)
    recorder.calls.push(record)
    const upstream = fakeOf(this.#upstreams, call.upstream)
    if (upstream === undefined || !permits(this.#upstreams, call.upstream, hosts, recorder.log())) {
      record.state = 'refused'
      if (upstream === undefined) recorder.warn(`an http call is refused: no upstream \`${call.upstream}\` is faked`)
      return undefined
    }
    const finish = (state: RecordedHttpCall['state']): boolean => {
      if (record.state !== 'pending') return false
      record.state = state
      cancelTimeout?.()
      over()
      return true
    }
    const fail = (reason: string) => {
      if (!finish('failed')) return
      record.reason = reason
      done(undefined, reason)
    }
    const over = recorder.begin(`the answer of its http call to ${call.upstream} (${request.method} ${request.path})`)
    const cancelTimeout =
      call.timeout === 0
        ? undefined
        : recorder.clock.after(call.timeout, () => fail(`no answer in ${call.timeout} ms`), true)
    const answer = async () => {
      try {
        const given = await (typeof upstream === 'function' ? upstream(request) : upstream)
        if (given instanceof Error) return fail(given.message)
        const response = responseOf(given, call.upstream)
        if (finish('answered')) done(response)
      } catch (error) {
        recorder.fail(error)
        fail('the faked upstream threw')
      }
    }
    // Never before this has returned; and in a turn of its own, so that a filter that calls again and again holds nobody up.
    setImmediate(answer)
    return () => finish('aborted')
  }
}

function requestOf({ upstream, headers, body, trailers, timeout }: HttpCall): UpstreamRequest {
  return {
    upstream,
    method: headerOf(headers, ':method'),
    path: headerOf(headers, ':path'),
    scheme: headerOf(headers, ':scheme') || 'http',
    authority: headerOf(headers, ':authority'),
    headers: headersOf(headers),
    body: body.toString(),
    bytes: body,
    trailers: headersOf(trailers),
    timeout
  }
}

function responseOf(given: UpstreamResponse, upstream: string): HttpCallResponse {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(`the faked upstream ${upstream} must answer { status, headers, body } or an Error`)
  }
  const place = `upstreams.${upstream}`
  validate(ResponseSchema, given, place)
  const { status = 200, headers, body, trailers } = given
  return {
    headers: [':status', String(status), ...pairsOf(headers, `${place}: headers`)],
    body: bytesOf(body, `${place}: body`),
    trailers: pairsOf(trailers, `${place}: trailers`)
  }
}
