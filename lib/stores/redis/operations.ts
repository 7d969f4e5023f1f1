import { isRefusal, run } from './client.ts'
import { type Link, reasonOf } from './link.ts'
import { type Answering, MAX_BYTES, Operation, type Question, REFUSED, Result } from './mailbox.ts'
import type { QueueLink } from './queue-link.ts'
import { SET } from './scripts.ts'
import type { RedisSettings } from './settings.ts'

/** Bytes of the number in front of a value. */
const NUMBER_SIZE = 4
const ANY = Buffer.alloc(0)

/** What stands there was written by somebody else. */
class ForeignContent extends Error {}

/** Does what the thread of the filters asks for. */
export class Operations {
  readonly #settings: RedisSettings
  readonly #link: Link
  readonly #mailbox: Answering
  readonly #queues: QueueLink

  constructor(settings: RedisSettings, link: Link, mailbox: Answering, queues: QueueLink) {
    this.#settings = settings
    this.#link = link
    this.#mailbox = mailbox
    this.#queues = queues
  }

  /** Answers the question that waits, if there is one. */
  serve(): void {
    const question = this.#mailbox.take()
    if (question === undefined) return
    if (!this.#link.isReady) {
      const number = this.#link.missed() ? 0 : REFUSED
      this.#mailbox.answer(question, Result.unavailable, number, Buffer.from('there is no connection'))
      return
    }
    this.#do(question).catch((error: Error) => {
      const reason = Buffer.from(reasonOf(error).slice(0, 1000))
      const isTold = isConnectionLost(error) && this.#link.missed()
      this.#mailbox.answer(question, resultOf(error), isTold ? 0 : REFUSED, reason)
    })
  }

  #do(question: Question): Promise<void> {
    switch (question.operation) {
      case Operation.get:
        return this.#get(question)
      case Operation.set:
        return this.#set(question)
      case Operation.resolve:
        return this.#resolve(question)
      case Operation.enqueue:
        return this.#enqueue(question)
      default:
        return this.#dequeue(question)
    }
  }

  async #get(question: Question): Promise<void> {
    const bytes = await this.#link.commands.getBuffer(question.key)
    if (bytes === null) this.#mailbox.answer(question, Result.none)
    else this.#answerValue(question, Result.done, bytes)
  }

  async #set(question: Question): Promise<void> {
    const { key, value, number, ttl } = question
    const expected = number === 0 ? ANY : numberBytes(number)
    const { commands } = this.#link
    const [isSet, bytes] = await run<[number, Buffer]>(commands, SET, key, value, expected, ttl)
    if (isSet === 1) this.#mailbox.answer(question, Result.done, bytes.readUInt32LE(0))
    else this.#answerValue(question, Result.other, bytes)
  }

  #answerValue(question: Question, result: Result, bytes: Buffer): void {
    const length = bytes.length - NUMBER_SIZE
    if (length < 0 || length > MAX_BYTES)
      throw new ForeignContent(`${question.key.toString('latin1')} is no value of a filter`)
    this.#mailbox.answer(question, result, bytes.readUInt32LE(0), bytes.subarray(NUMBER_SIZE))
  }

  async #resolve(question: Question): Promise<void> {
    const { key, number } = question
    const name = await this.#link.commands.hgetBuffer(`${this.#settings.prefix}queues`, String(number))
    // Without a name: whether there is a queue at all.
    const isIt = name !== null && (key.length === 0 || name.equals(key))
    this.#mailbox.answer(question, isIt ? Result.done : Result.none)
  }

  async #enqueue(question: Question): Promise<void> {
    const hasRoom = await this.#queues.put(question.number, question.value)
    this.#mailbox.answer(question, hasRoom ? Result.done : Result.full)
  }

  async #dequeue(question: Question): Promise<void> {
    const { number } = question
    const taken = await this.#queues.take(number)
    if (taken === undefined) this.#mailbox.answer(question, Result.none)
    else if (taken.item.length > MAX_BYTES) {
      // It would come again and again.
      this.#queues.given(number, taken)
      this.#queues.acknowledge()
      throw new ForeignContent(`an item of queue ${number} is longer than one may be, and is dropped`)
    } else if (this.#mailbox.answer(question, Result.done, 0, taken.item)) this.#queues.given(number, taken)
    else this.#queues.missed(number, taken)
  }
}

/** Whether nobody knows what Redis has done. */
function isConnectionLost(error: Error): boolean {
  return !isRefusal(error) && !(error instanceof ForeignContent)
}

function resultOf(error: Error): Result {
  if (isConnectionLost(error)) return Result.unknown
  return /\bOOM\b/.test(error.message) ? Result.full : Result.unavailable
}

function numberBytes(number: number): Buffer {
  const bytes = Buffer.alloc(NUMBER_SIZE)
  bytes.writeUInt32LE(number)
  return bytes
}
