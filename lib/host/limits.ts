/** What an instance may take. */
export interface InstanceLimits {
  /** Milliseconds that one call into it may take, 0: as many as it likes */
  readonly callMs: number
  /** The same of its start, and of that of a plugin context with its configuration */
  readonly startMs: number
  /** http and gRPC calls of one exchange that are not answered yet, 0: as many as it likes */
  readonly httpCalls: number
  /** Bytes of a body that it makes, 0: as many as it likes */
  readonly bodyBytes: number
  /** Lines that all instances of its plugin log in a second, 0: as many as they like */
  readonly logLines: number
}

export const DEFAULT_LIMITS: InstanceLimits = {
  callMs: 1000,
  startMs: 10_000,
  httpCalls: 64,
  bodyBytes: 8 * 1024 * 1024,
  logLines: 1000
}

// What no option changes.

/** Bytes of a name that a filter chooses: the key of shared data, a queue, a metric. Of a longer one there is none. */
export const MAX_NAME = 64 * 1024

/** Properties that a filter sets, in one exchange or outside of any: how many, and bytes of their names and values. */
export const MAX_PROPERTIES = 1024
export const MAX_PROPERTY_BYTES = 1024 * 1024

/** Bytes of headers that a context adds or replaces one by one, with 64 more for each. */
export const MAX_HEADER_BYTES = 1024 * 1024

/** Entries of all tables of a module together. */
export const MAX_TABLE_ENTRIES = 1_048_576

/** Values that an exception of a module carries: C++ has one, longjmp two. */
export const MAX_EXCEPTION_VALUES = 16

/** Bytes that the calls of an instance hold which are not answered yet: their headers and bodies. */
export const MAX_CALL_BYTES = 64 * 1024 * 1024

/** Bytes of a log line. */
export const MAX_LINE = 8 * 1024
