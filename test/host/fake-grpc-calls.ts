import assert from 'node:assert/strict'
import type { GrpcCall, GrpcClient, GrpcEvents, GrpcStream } from '../../lib/host/index.ts'

/** An exchange whose upstream is the test. */
export class FakeGrpcExchange implements GrpcStream {
  readonly call: GrpcCall
  readonly events: GrpcEvents
  /** What the filter has sent. */
  readonly messages: string[] = []
  /** As if the upstream took nothing. */
  unsent = 0
  halfClosed = false
  state: 'open' | 'closed' | 'cancelled' = 'open'

  constructor(call: GrpcCall, events: GrpcEvents) {
    this.call = call
    this.events = events
  }

  send(message: Buffer, endStream: boolean): void {
    assert.equal(this.halfClosed, false, 'nothing is sent after the last message')
    this.messages.push(message.toString())
    this.halfClosed = endStream
  }

  end(): void {
    assert.equal(this.halfClosed, false)
    this.halfClosed = true
  }

  cancel(): void {
    assert.equal(this.state, 'open', 'an exchange is cancelled once, and not after its end')
    this.state = 'cancelled'
  }

  /** The upstream ends it. */
  close(status: number, message: string = ''): void {
    assert.equal(this.state, 'open')
    this.state = 'closed'
    this.events.close(status, message)
  }

  /** The upstream answers, and ends it with OK. */
  answer(...messages: string[]): void {
    for (const message of messages) this.events.message(Buffer.from(message))
    this.close(0)
  }
}

/** Takes gRPC calls and leaves the answering to the test. The upstream `unknown` cannot be called. */
export class FakeGrpcCalls implements GrpcClient {
  readonly exchanges: FakeGrpcExchange[] = []

  open(call: GrpcCall, events: GrpcEvents): GrpcStream | undefined {
    if (call.upstream === 'unknown') return undefined
    const exchange = new FakeGrpcExchange(call, events)
    this.exchanges.push(exchange)
    return exchange
  }
}
