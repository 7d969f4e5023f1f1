import type { HeaderChange } from './header-changes.ts'

/** Characters of the texts that are kept of one request, and how many things that happened. */
const MAX_TEXT = 32 * 1024
const MAX_EVENTS = 300
const MAX_LENGTH = 500

/** Something that happened in a request. `at`: milliseconds since it began */
export type RecordedEvent = RecordedCallback | RecordedLog | RecordedCall

export interface RecordedCallback {
  readonly kind: 'callback'
  readonly at: number
  readonly plugin: string
  readonly callback: string
  readonly context: number
  readonly milliseconds: number
  readonly action: 'continue' | 'pause' | 'answer' | 'reset' | 'failed' | undefined
  readonly changes: readonly HeaderChange[]
  readonly error: string | undefined
}

export interface RecordedLog {
  readonly kind: 'log'
  readonly at: number
  readonly plugin: string
  readonly level: string
  line: string
}

export interface RecordedCall {
  readonly kind: 'call'
  readonly at: number
  readonly plugin: string
  readonly upstream: string
  /** `gRPC` for those */
  readonly method: string
  readonly path: string
  /** While it is under way there is none. */
  milliseconds: number | undefined
  status: number | undefined
  error: string | undefined
}

/** What is kept of a request: no bodies, no secrets, and not more than some dozen kilobytes. */
export class RequestRecord {
  readonly id: number
  /** Milliseconds since the epoch */
  readonly startedAt: number
  readonly method: string
  readonly path: string
  readonly route: string | undefined
  readonly events: RecordedEvent[] = []
  status: number | undefined
  /** How long the request took, when it is over. */
  milliseconds: number | undefined
  /** Whether the client left, or the response was cut off. */
  aborted = false
  /** Whether more has happened than is kept. */
  isCut = false
  /** Whether others have taken its place: nothing of it is kept any more. */
  isDropped = false
  /** Which change of all records was the last of this one. */
  version = 0
  #room = MAX_TEXT

  constructor(id: number, startedAt: number, method: string, path: string, route: string | undefined) {
    this.id = id
    this.startedAt = startedAt
    this.method = method
    this.path = this.cut(path)
    this.route = route
  }

  get isOver(): boolean {
    return this.milliseconds !== undefined
  }

  /** Nothing more is kept. */
  get isFull(): boolean {
    return this.events.length >= MAX_EVENTS || this.#room <= 0
  }

  drop(): void {
    this.isDropped = true
    this.events.length = 0
  }

  add(event: RecordedEvent): void {
    if (this.isFull) this.isCut = true
    else this.events.push(event)
  }

  changeLines(change: (line: string) => string): void {
    for (const event of this.events) if (event.kind === 'log') event.line = change(event.line)
  }

  /** A text as it is kept: its beginning. */
  cut(text: string): string {
    const length = Math.max(0, Math.min(MAX_LENGTH, this.#room))
    this.#room -= Math.min(text.length, MAX_LENGTH)
    return text.length <= length ? text : `${text.slice(0, length)}…`
  }

  cutChange(change: HeaderChange): HeaderChange {
    const cut = (text: string | undefined) => (text === undefined ? undefined : this.cut(text))
    return { of: change.of, name: this.cut(change.name), before: cut(change.before), after: cut(change.after) }
  }
}
