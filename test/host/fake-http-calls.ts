import assert from 'node:assert/strict'
import type { HttpCall, HttpCallClient, HttpCallDone, HttpCallResponse } from '../../lib/host/index.ts'

export interface SentCall extends HttpCall {
  readonly done: HttpCallDone
  state: 'outstanding' | 'answered' | 'aborted'
}

/** Takes http calls and leaves the answering to the test. The upstream `unknown` cannot be called. */
export class FakeHttpCalls implements HttpCallClient {
  readonly sent: SentCall[] = []

  dispatch(call: HttpCall, done: SentCall['done']): (() => void) | undefined {
    if (call.upstream === 'unknown') return undefined
    const sent: SentCall = { ...call, done, state: 'outstanding' }
    this.sent.push(sent)
    return () => {
      assert.equal(sent.state, 'outstanding', 'a call is aborted once, and not after its answer')
      sent.state = 'aborted'
    }
  }

  get outstanding(): SentCall[] {
    return this.sent.filter(({ state }) => state === 'outstanding')
  }

  /** Answers a call with 200, or as given. */
  answer(index: number = 0, response: Partial<HttpCallResponse> = {}): void {
    this.#finish(index, { headers: [':status', '200'], body: Buffer.alloc(0), trailers: [], ...response })
  }

  /** A call that was refused, was reset or has timed out. */
  fail(index: number = 0): void {
    this.#finish(index, undefined)
  }

  #finish(index: number, response: HttpCallResponse | undefined): void {
    const sent = this.sent[index]!
    assert.equal(sent.state, 'outstanding')
    sent.state = 'answered'
    sent.done(response)
  }
}
