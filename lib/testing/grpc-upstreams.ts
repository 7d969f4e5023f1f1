import { validate } from '../config/validate.ts'
import type { CallHosts } from '../gateway/upstream/call-hosts.ts'
import type { GrpcCall, GrpcClient, GrpcEvents, GrpcStream } from '../host/index.ts'
import { queueMicrotask, setImmediate } from '../real-time.ts'
import { type Bytes, bytesOf, type Headers, headersOf, pairsOf } from './message.ts'
import { GrpcAnswer as GrpcAnswerSchema } from './schema.ts'
import { type CallRecorder, fakeOf, permits } from './upstreams.ts'

/** gRPC's own code for a call that cannot be made. */
const UNAVAILABLE = 14

/** What a faked upstream answers to a gRPC call, all at once. */
export interface GrpcAnswer {
  readonly initial_metadata?: Headers
  /** One for a unary call */
  readonly messages?: readonly Bytes[]
  readonly trailing_metadata?: Headers
  /** By default 0, OK */
  readonly status?: number
  readonly status_message?: string
}

/** What is known of a gRPC call, unary or a stream, and what has become of it. */
export interface RecordedGrpcCall {
  /** The filter's name */
  readonly filter: string
  readonly upstream: string
  readonly service: string
  readonly method: string
  readonly metadata: Record<string, string | string[]>
  /** Milliseconds that the filter gives it, 0: any number */
  readonly timeout: number
  /** What the filter has sent so far */
  readonly messages: readonly Buffer[]
  /** Whether it will send no more */
  readonly halfClosed: boolean
  /** `refused`: nothing of that name is faked, or the plugin's `hosts` do not list it */
  readonly state: 'open' | 'closed' | 'cancelled' | 'refused'
}

/** A gRPC call as a faked upstream sees it. What it sends arrives when the callback that is under way has returned. */
export interface FakedGrpcCall extends RecordedGrpcCall {
  /** Called for each message that the filter sends from now on. */
  onMessage: ((message: Buffer) => void) | undefined
  /** Called when the filter has sent its last one. */
  onHalfClose: (() => void) | undefined
  sendInitialMetadata(metadata: Headers): void
  send(message: Bytes): void
  sendTrailingMetadata(metadata: Headers): void
  /** Ends the call. @param status by default 0, OK */
  close(status?: number, message?: string): void
}

/**
 * A faked upstream for gRPC: what it answers, or a function that does, called when the first message of a unary call is there.
 * One that answers nothing sends by itself what there is to send. An `Error` stands for status 14, with its message.
 */
export type GrpcUpstream =
  | GrpcAnswer
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing
  | ((call: FakedGrpcCall) => GrpcAnswer | Error | void | Promise<GrpcAnswer | Error | void>)

/** Answers the gRPC calls of one filter. */
export class GrpcUpstreams implements GrpcClient {
  readonly #upstreams: Readonly<Record<string, GrpcUpstream>>
  readonly #recorder: CallRecorder

  constructor(upstreams: Readonly<Record<string, GrpcUpstream>>, recorder: CallRecorder) {
    this.#upstreams = upstreams
    this.#recorder = recorder
  }

  within(hosts: CallHosts): GrpcClient {
    return { open: (call, events) => this.open(call, events, hosts) }
  }

  open(call: GrpcCall, events: GrpcEvents, hosts?: CallHosts): GrpcStream | undefined {
    const recorder = this.#recorder
    const upstream = fakeOf(this.#upstreams, call.upstream)
    const isRefused = upstream === undefined || !permits(this.#upstreams, call.upstream, hosts, recorder.log())
    const faked = new FakedCall(call, events, recorder, isRefused)
    recorder.exchange()?.grpcCalls.push(faked)
    recorder.grpcCalls.push(faked)
    if (upstream === undefined) recorder.warn(`a gRPC call is refused: no upstream \`${call.upstream}\` is faked`)
    if (isRefused) return undefined
    const answer = async () => {
      try {
        const given = await (typeof upstream === 'function' ? upstream(faked) : upstream)
        if (given !== undefined) faked.answer(given)
      } catch (error) {
        recorder.fail(error)
        faked.close(UNAVAILABLE, 'the faked upstream threw')
      }
    }
    setImmediate(answer)
    return faked.stream
  }
}

class FakedCall implements FakedGrpcCall {
  readonly filter: string
  readonly upstream: string
  readonly service: string
  readonly method: string
  readonly metadata: Record<string, string | string[]>
  readonly timeout: number
  readonly messages: Buffer[] = []
  halfClosed = false
  state: RecordedGrpcCall['state']
  onMessage: ((message: Buffer) => void) | undefined
  onHalfClose: (() => void) | undefined
  readonly #events: GrpcEvents
  readonly #recorder: CallRecorder
  readonly #over: () => void
  readonly #cancelTimeout: (() => void) | undefined

  constructor(call: GrpcCall, events: GrpcEvents, recorder: CallRecorder, isRefused: boolean) {
    const { upstream, service, method, metadata, timeout } = call
    this.filter = recorder.filter
    this.upstream = upstream
    this.service = service
    this.method = method
    this.metadata = headersOf(metadata)
    this.timeout = timeout
    this.state = isRefused ? 'refused' : 'open'
    this.#events = events
    this.#recorder = recorder
    this.#over = isRefused ? () => {} : recorder.begin(`its gRPC call ${service}/${method} to ${upstream}`)
    this.#cancelTimeout =
      timeout === 0 || isRefused
        ? undefined
        : recorder.clock.after(timeout, () => this.close(4, `no answer in ${timeout} ms`), true)
  }

  /** The filter's side. */
  get stream(): GrpcStream {
    return {
      unsent: 0,
      send: (message, endStream) => {
        this.messages.push(message)
        const { onMessage } = this
        if (onMessage !== undefined) this.#tell(() => onMessage(message))
        if (endStream) this.#halfClose()
      },
      end: () => this.#halfClose(),
      cancel: () => this.#end('cancelled')
    }
  }

  sendInitialMetadata(metadata: Headers): void {
    const pairs = pairsOf(metadata, 'initial metadata')
    this.#deliver(() => this.#events.initialMetadata(pairs))
  }

  send(message: Bytes): void {
    const bytes = bytesOf(message, `grpc_upstreams.${this.upstream}: message`)
    this.#deliver(() => this.#events.message(bytes))
  }

  sendTrailingMetadata(metadata: Headers): void {
    const pairs = pairsOf(metadata, 'trailing metadata')
    this.#deliver(() => this.#events.trailingMetadata(pairs))
  }

  close(status: number = 0, message: string = ''): void {
    this.#deliver(() => {
      this.#end('closed')
      this.#events.close(status, message)
    })
  }

  answer(answer: GrpcAnswer | Error): void {
    if (answer instanceof Error) {
      this.close(UNAVAILABLE, answer.message)
      return
    }
    validate(GrpcAnswerSchema, answer, `grpc_upstreams.${this.upstream}`)
    const { initial_metadata, messages = [], trailing_metadata, status, status_message } = answer
    if (initial_metadata !== undefined) this.sendInitialMetadata(initial_metadata)
    for (const message of messages) this.send(message)
    if (trailing_metadata !== undefined) this.sendTrailingMetadata(trailing_metadata)
    this.close(status, status_message)
  }

  #halfClose(): void {
    this.halfClosed = true
    const { onHalfClose } = this
    if (onHalfClose !== undefined) this.#tell(onHalfClose)
  }

  #end(state: RecordedGrpcCall['state']): void {
    this.state = state
    this.#cancelTimeout?.()
    this.#over()
  }

  /** Calls the fake, out of the filter's own call, and in a turn of its own: the two may converse for ever. */
  #tell(action: () => void): void {
    setImmediate(() => {
      try {
        action()
      } catch (error) {
        this.#recorder.fail(error)
      }
    })
  }

  /** Calls the filter, out of whatever call of it led here. */
  #deliver(event: () => void): void {
    queueMicrotask(() => {
      if (this.state === 'open') event()
    })
  }
}
