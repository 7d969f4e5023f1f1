/** Bytes of a value, or of an item of a queue. */
export const MAX_BYTES = 64 * 1024
/** Bytes of a key, with what stands before it. */
export const MAX_KEY = 72 * 1024

/** What a worker is asked to do. */
export const Operation = { get: 1, set: 2, resolve: 3, enqueue: 4, dequeue: 5 } as const
export type Operation = (typeof Operation)[keyof typeof Operation]

/** What came of it. */
export const Result = {
  /** It is done. */
  done: 0,
  /** There is none. */
  none: 1,
  /** Another one is there: of a value, which comes along. */
  other: 2,
  /** There is no room for it. */
  full: 3,
  /** It was not done, and cannot be now. */
  unavailable: 4,
  /** Nobody knows whether it was done. */
  unknown: 5
} as const
export type Result = (typeof Result)[keyof typeof Result]

/** The number that comes with a failure which is Redis's own answer, or of which nobody else tells. */
export const REFUSED = 1

/** The numbers at the begin of the memory. */
const Word = {
  state: 0,
  operation: 1,
  keyLength: 2,
  valueLength: 3,
  number: 4,
  ttl: 5,
  result: 6,
  answerLength: 7,
  isHealthy: 8,
  isTracked: 9,
  epoch: 10
} as const
const WORDS = 16

/**
 * Whose turn it is with the request: who changes it has won. `posted`: nobody has seen it · `taken`: it may be done ·
 * `answering`: the answer is being written · `answered` · `abandoned`: nobody waits for it any more
 */
const State = { idle: 0, posted: 1, taken: 2, answering: 3, answered: 4, abandoned: 5 } as const

const KEY_AT = WORDS * Int32Array.BYTES_PER_ELEMENT
const VALUE_AT = KEY_AT + MAX_KEY
const ANSWER_AT = VALUE_AT + MAX_BYTES
const SIZE = ANSWER_AT + MAX_BYTES

/** The memory in which one thread asks and another one answers, one request at a time. */
class Mailbox {
  protected readonly words: Int32Array<SharedArrayBuffer>
  protected readonly bytes: Buffer<SharedArrayBuffer>

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer, 0, WORDS)
    this.bytes = Buffer.from(buffer)
  }

  static buffer(): SharedArrayBuffer {
    return new SharedArrayBuffer(SIZE)
  }

  /** Whether it is worth to ask. */
  get isHealthy(): boolean {
    return Atomics.load(this.words, Word.isHealthy) === 1
  }

  set isHealthy(isHealthy: boolean) {
    Atomics.store(this.words, Word.isHealthy, isHealthy ? 1 : 0)
  }

  /** Whether it is told of changes of keys that were read. */
  get isTracked(): boolean {
    return Atomics.load(this.words, Word.isTracked) === 1
  }

  set isTracked(isTracked: boolean) {
    Atomics.store(this.words, Word.isTracked, isTracked ? 1 : 0)
  }

  /** Another one as soon as changes may have been missed. */
  get epoch(): number {
    return Atomics.load(this.words, Word.epoch)
  }

  nextEpoch(): void {
    Atomics.add(this.words, Word.epoch, 1)
  }
}

/** The side that asks, and is stopped until there is an answer. */
export class Asking extends Mailbox {
  /** A number that came with the answer. */
  get number(): number {
    return this.words[Word.number]! >>> 0
  }

  /** The bytes of the answer, until the next question. */
  get answer(): Buffer {
    return this.bytes.subarray(ANSWER_AT, ANSWER_AT + this.words[Word.answerLength]!)
  }

  /**
   * Asks, and waits.
   *
   * @param key as latin1, at most `MAX_KEY` bytes
   * @param value at most `MAX_BYTES`
   * @param wake wakes the other side
   * @param timeout milliseconds to wait at most
   * @returns `undefined` when the time is over before anybody has seen it
   */
  ask(
    operation: Operation,
    key: string,
    value: Uint8Array,
    number: number,
    ttl: number,
    wake: () => void,
    timeout: number
  ): Result | undefined {
    const { words, bytes } = this
    words[Word.operation] = operation
    words[Word.keyLength] = bytes.write(key, KEY_AT, 'latin1')
    words[Word.valueLength] = value.length
    bytes.set(value, VALUE_AT)
    words[Word.number] = number
    words[Word.ttl] = ttl
    words[Word.answerLength] = 0
    Atomics.store(words, Word.state, State.posted)
    wake()
    const end = performance.now() + timeout
    for (;;) {
      const state = Atomics.load(words, Word.state)
      if (state === State.answered) return words[Word.result] as Result
      const left = end - performance.now()
      if (left > 0 || state === State.answering) Atomics.wait(words, Word.state, state, Math.max(1, left))
      else if (Atomics.compareExchange(words, Word.state, state, State.abandoned) === state) {
        return state === State.posted ? undefined : Result.unknown
      }
    }
  }
}

/** A question as the other side sees it. */
export interface Question {
  readonly operation: Operation
  readonly key: Buffer
  readonly value: Buffer
  readonly number: number
  /** Milliseconds, 0: for ever */
  readonly ttl: number
}

/** The side that answers. */
export class Answering extends Mailbox {
  #last: Question | undefined

  /** The question that waits, if there is one. */
  take(): Question | undefined {
    const { words, bytes } = this
    if (Atomics.compareExchange(words, Word.state, State.posted, State.taken) !== State.posted) return undefined
    const copy = (at: number, length: number) => Buffer.from(bytes.subarray(at, at + length))
    this.#last = {
      operation: words[Word.operation] as Operation,
      key: copy(KEY_AT, words[Word.keyLength]!),
      value: copy(VALUE_AT, words[Word.valueLength]!),
      number: words[Word.number]! >>> 0,
      ttl: words[Word.ttl]! >>> 0
    }
    return this.#last
  }

  /**
   * @param bytes at most `MAX_BYTES`
   * @returns false when nobody waits for the answer any more
   */
  answer(question: Question, result: Result, number: number = 0, bytes?: Uint8Array): boolean {
    const { words } = this
    if (question !== this.#last) return false
    if (Atomics.compareExchange(words, Word.state, State.taken, State.answering) !== State.taken) return false
    words[Word.result] = result
    words[Word.number] = number
    words[Word.answerLength] = bytes?.length ?? 0
    if (bytes !== undefined) this.bytes.set(bytes, ANSWER_AT)
    Atomics.store(words, Word.state, State.answered)
    Atomics.notify(words, Word.state)
    return true
  }
}
