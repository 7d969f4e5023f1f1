import { now, setImmediate } from '../real-time.ts'

/** How long one turn of the event loop tells of items, of all queues: a filter that is told may put more into them. */
const TELL_MS = 10

/** Those that have something to tell of, in the order of their turns. */
let waiting: QueueAnnouncer[] = []
let isPlanned = false

function plan(): void {
  if (isPlanned || waiting.length === 0) return
  isPlanned = true
  setImmediate(() => {
    isPlanned = false
    const until = now() + TELL_MS
    // Who comes meanwhile has another turn.
    const due = waiting
    waiting = []
    let next = 0
    while (next < due.length && now() <= until) due[next++]!.tell(until)
    waiting = due.slice(next).concat(waiting)
    plan()
  })
}

/** Tells who has registered for a queue of the items that come, in later turns of the event loop. */
export class QueueAnnouncer {
  readonly #id: number
  #onReady: ((id: number) => void) | undefined
  /** Of how many items is to be told. A number, not a callback for each: items may come and go in one call of a filter. */
  #untold = 0
  #isWaiting = false
  /** How many items came when nobody was registered. */
  #unheard = 0

  constructor(id: number) {
    this.#id = id
  }

  /**
   * @param news how many items have come
   * @param waiting how many are there, also those that were announced: of so many it is told at least
   */
  announce(news: number, waiting: number = 0): void {
    this.#untold = Math.max(this.#untold + news, waiting)
    this.#tellLater()
  }

  /**
   * @param onReady stands in place of that of an earlier registration
   * @param present how many items are there: of as many that nobody has heard of it is told
   */
  register(onReady: (id: number) => void, present: number): () => void {
    this.#onReady = onReady
    // A consumer that takes an item for each call would stay behind for ever by those that came between two registrations.
    this.#untold += Math.min(this.#unheard, present)
    this.#unheard = 0
    this.#tellLater()
    return () => {
      if (this.#onReady === onReady) this.#onReady = undefined
    }
  }

  #tellLater(): void {
    if (this.#isWaiting || this.#untold === 0) return
    this.#isWaiting = true
    waiting.push(this)
    plan()
  }

  /** Its turn. What it does not come to it tells of in another. */
  tell(until: number): void {
    this.#isWaiting = false
    this.#tellUntil(until)
    this.#tellLater()
  }

  #tellUntil(until: number): void {
    // Of what comes meanwhile it is told in another turn.
    for (let due = this.#untold; due > 0; due--) {
      this.#untold--
      if (this.#onReady === undefined) this.#unheard++
      else {
        this.#onReady(this.#id)
        if (now() > until) return
      }
    }
  }
}
