/** A question that hosts answer in different ways: the function it is about, and the answers. */
export interface Difference {
  readonly name: string
  readonly question: string
  readonly here: string
  readonly envoy: string
  readonly nginx: string
  readonly java: string
}

type Answers = readonly [name: string, question: string, here: string, envoy: string, nginx: string, java: string]

const ANSWERS: readonly Answers[] = [
  ['proxy_on_memory_allocate', 'when `malloc` is exported too', 'is called', '`malloc` is', '`malloc` is', 'is called'],
  ['_initialize', 'host functions in it', '`InternalFailure`, a warning', 'a trap for most', '–', '–'],
  [
    'proxy_on_done',
    'the end of a stream',
    'done, log, delete',
    'log, done, delete',
    'done, log, delete',
    'done, log, delete'
  ],
  ['proxy_on_done', 'false for a stream', 'waits, at most 5 s', 'is ignored', '–', 'waits'],
  ['proxy_on_log', 'of a plugin context', 'never', 'never', 'never', 'called'],
  ['proxy_on_request_headers', '`end_of_stream`', 'true without a body', 'true without a body', 'always false', '–'],
  ['proxy_on_request_body', 'calls', 'one, with all of it', 'one per chunk', '–', '–'],
  ['proxy_on_response_headers', 'order of filters', 'that of the request', 'the reverse', '–', '–'],
  [
    'proxy_get_header_map_value',
    'a map that is not there',
    '`NotFound`',
    '`BadArgument`; `NotFound` in `proxy_on_log`',
    '`NotFound`',
    '`BadArgument`'
  ],
  ['proxy_get_header_map_value', 'case of the name', 'any', 'any', 'any', 'as written'],
  ['proxy_get_header_map_pairs', 'a map that is not there', '`Ok`, empty', '`Ok`, empty', '`BadArgument`', '–'],
  [
    'proxy_get_header_map_size',
    'is',
    'bytes of the serialized map',
    'bytes of keys and values',
    'missing',
    'bytes of the serialized map'
  ],
  ['proxy_set_header_map_pairs', 'malformed pairs', '`BadArgument`', 'an empty map', '`InternalFailure`', '–'],
  ['proxy_set_header_map_pairs', 'pseudo-headers left out', 'stay', 'are dropped', 'stay', '–'],
  ['proxy_add_header_map_value', 'in the wrong phase', '`BadArgument`', '`BadArgument`', 'a trap', '–'],
  [
    'proxy_replace_header_map_value',
    'a repeated header',
    'one value is left',
    'the first is changed',
    'one value is left',
    'one value is left'
  ],
  [
    'proxy_get_buffer_bytes',
    'an empty buffer',
    '`Ok`, 0 and 0',
    '`Ok`, 0 and 0',
    '`Ok`, cells untouched',
    '`NotFound`'
  ],
  ['proxy_get_buffer_bytes', 'a body outside of its callback', '`NotFound`', '`Ok`, empty', 'a trap', '–'],
  ['proxy_set_buffer_bytes', 'in the middle', 'any splice', '`BadArgument`', '–', 'any splice'],
  ['proxy_get_property', 'types of values', 'Envoy’s', 'integers 8 bytes, booleans 1', 'texts', 'bytes as they are'],
  ['proxy_set_property', 'without a stream', '`Ok`', '`NotFound`', '–', '–'],
  ['proxy_continue_stream', 'stream 3', '`Ok`', '`Unimplemented`', '–', '–'],
  ['proxy_clear_route_cache', 'in a module of 0.2.x', '`Ok`', 'does not load', '–', '–'],
  [
    'proxy_http_call',
    '`upstream`',
    'an upstream’s id, `host[:port]`',
    'a cluster',
    '`host[:port]`',
    'a mapped name, a URL'
  ],
  [
    'proxy_on_http_call_response',
    'a call that failed',
    'zeros',
    '503 or 504; zeros when reset',
    'zeros, `:dispatch_status`',
    '–'
  ],
  [
    'proxy_on_http_call_response',
    'after the end of the stream',
    'to the plugin context',
    'to the plugin context',
    'cancelled',
    'to the plugin context'
  ],
  ['proxy_set_effective_context', 'an unknown id', '`BadArgument`', '`BadArgument`', '`Ok`, ignored', '`BadArgument`'],
  ['proxy_set_shared_data', 'a cas, and no such key', '`Ok`, created', '`Ok`, created', '–', '`CasMismatch`'],
  ['proxy_increment_metric', 'a counter by 0', '`Ok`', '`BadArgument`', 'not checked', 'added'],
  ['proxy_increment_metric', 'a counter by less than 0', '`BadArgument`', '`BadArgument`', 'not checked', 'added'],
  ['proxy_record_metric', 'a counter', 'is set', 'is added to', 'is set', 'is set'],
  [
    'proxy_set_tick_period_milliseconds',
    'a second period',
    'in place of the first',
    'in place of the first',
    'a trap',
    'in place of the first'
  ],
  ['proxy_get_current_time_nanoseconds', 'writes', '8 bytes', '8 bytes', '–', '4 bytes'],
  ['poll_oneoff', 'a clock', 'sleeps, reports it', 'no event, at once', '`ENOTSUP`', 'that of a whole WASI'],
  ['sched_yield', 'answers', '0', '0', '`ENOTSUP`', 'that of a whole WASI']
]

export const DIFFERENCES: readonly Difference[] = ANSWERS.map(([name, question, here, envoy, nginx, java]) => ({
  name,
  question,
  here,
  envoy,
  nginx,
  java
}))
