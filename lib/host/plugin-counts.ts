import type { CallTimes } from './call-times.ts'

/** How a call of a filter ended. */
export type CallResult = '1xx' | '2xx' | '3xx' | '4xx' | '5xx' | 'ok' | 'error' | 'failed' | 'refused' | 'aborted'

/** What has happened in the instances of a plugin. It outlives them. */
export class PluginCounts {
  /** How long the calls into it took; `undefined`: nobody wants to know */
  readonly times: CallTimes | undefined
  /** Instances that were made in place of one that had failed */
  restarts = 0
  /** By the export that trapped, or what of the host failed */
  readonly traps: Map<string, number> = new Map()
  /** By status */
  readonly localResponses: Map<number, number> = new Map()
  readonly httpCalls: Map<CallResult, number> = new Map()
  readonly grpcCalls: Map<CallResult, number> = new Map()

  constructor(times?: CallTimes) {
    this.times = times
  }

  trapped(where: string): void {
    count(this.traps, where)
  }

  responded(status: number): void {
    count(this.localResponses, status)
  }

  httpCall(result: CallResult): void {
    count(this.httpCalls, result)
  }

  grpcCall(result: CallResult): void {
    count(this.grpcCalls, result)
  }
}

function count<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** The class of a status of HTTP. */
export function classOf(status: number): CallResult {
  return `${Math.min(5, Math.max(1, Math.floor(status / 100)))}xx` as CallResult
}
