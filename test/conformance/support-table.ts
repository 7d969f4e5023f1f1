// What docs/abi-support.md says of each function, beside what the code and the tests say for themselves.

export type Version = '0.1.0' | '0.2.0' | '0.2.1'

export interface Row {
  readonly name: string
  /** The numbers of the statements that concern it, as `7 12-14`. Where there is none: a test file that calls it. */
  readonly proof: string
  readonly note?: string
  /** The versions whose specification has it; by default all. */
  readonly versions?: readonly Version[]
  /** Where it is called; by default its family's file. */
  readonly file?: string
}

const FROM_0_2_0: readonly Version[] = ['0.2.0', '0.2.1']
const ONLY_0_1_0: readonly Version[] = ['0.1.0']

/** Host functions, family by family. */
export const HOST_FUNCTIONS: readonly Row[] = [
  { name: 'proxy_log', proof: '15 261-262' },
  { name: 'proxy_get_log_level', proof: '263', versions: ['0.2.1'], note: 'the level of the logger' },
  { name: 'proxy_get_current_time_nanoseconds', proof: '264' },
  { name: 'proxy_set_tick_period_milliseconds', proof: '236-240', note: 'the timer of the plugin context' },
  { name: 'proxy_set_effective_context', proof: '61-65 187 200' },
  { name: 'proxy_done', proof: '54-57' },
  { name: 'proxy_get_header_map_size', proof: '123 141' },
  { name: 'proxy_get_header_map_pairs', proof: '78 100-101 107 109 114 123-124 128-129 132' },
  { name: 'proxy_set_header_map_pairs', proof: '104-106 123 127 140' },
  { name: 'proxy_get_header_map_value', proof: '25 110-113 123 125 128-129 136' },
  { name: 'proxy_add_header_map_value', proof: '108 119-123 126-127 131' },
  { name: 'proxy_replace_header_map_value', proof: '31 108 115-116 121-123 127 130 133-135 137-138 201' },
  { name: 'proxy_remove_header_map_value', proof: '117-118 123 127 139' },
  { name: 'proxy_get_buffer_bytes', proof: '40-42 142-147 153 187-188' },
  { name: 'proxy_get_buffer_status', proof: '146 156' },
  { name: 'proxy_set_buffer_bytes', proof: '148-155 157', note: 'buffers 0 and 1' },
  { name: 'proxy_get_configuration', proof: 'lifecycle.test.ts', versions: ONLY_0_1_0 },
  {
    name: 'proxy_get_property',
    proof: '60 168 245-258 260',
    note: 'which ones: [semantics](semantics.md#properties)'
  },
  { name: 'proxy_set_property', proof: '256-260' },
  { name: 'proxy_send_local_response', proof: '102-103 158-178' },
  {
    name: 'proxy_continue_stream',
    proof: '79 81-82 86 90-93 99 200',
    versions: FROM_0_2_0,
    note: 'streams 2 and 3: `Ok`, no effect'
  },
  { name: 'proxy_close_stream', proof: '94-95', versions: FROM_0_2_0, note: 'each stream ends the exchange' },
  { name: 'proxy_continue_request', proof: '96', versions: ONLY_0_1_0 },
  { name: 'proxy_continue_response', proof: '96', versions: ONLY_0_1_0 },
  { name: 'proxy_clear_route_cache', proof: '22', versions: ONLY_0_1_0, note: '`Ok`, no effect' },
  { name: 'proxy_http_call', proof: '18 102-103 179-192 194-204', note: 'trailers are not sent' },
  {
    name: 'proxy_get_status',
    proof: '193',
    note: 'in the callback of a call that failed, else 0; http calls: 11'
  },
  {
    name: 'proxy_grpc_call',
    proof: 'grpc.test.ts',
    note: 'the upstream may be a serialized `GrpcService`; also in AssemblyScript’s form, without metadata'
  },
  { name: 'proxy_grpc_stream', proof: 'grpc.test.ts', note: 'the same' },
  { name: 'proxy_grpc_send', proof: '206-207' },
  { name: 'proxy_grpc_cancel', proof: '207' },
  { name: 'proxy_grpc_close', proof: '207' },
  { name: 'proxy_get_shared_data', proof: '208-210 215-216', note: 'by `vm_id`' },
  { name: 'proxy_set_shared_data', proof: '211-216', note: 'by `vm_id`' },
  { name: 'proxy_register_shared_queue', proof: '217', note: 'by `vm_id`' },
  { name: 'proxy_resolve_shared_queue', proof: '218-219', note: 'by `vm_id`' },
  { name: 'proxy_enqueue_shared_queue', proof: '220 222-224' },
  { name: 'proxy_dequeue_shared_queue', proof: '220-222' },
  { name: 'proxy_define_metric', proof: '225-226', note: 'by `vm_id`' },
  { name: 'proxy_increment_metric', proof: '227-230 232 234' },
  { name: 'proxy_record_metric', proof: '231 233-235' },
  { name: 'proxy_get_metric', proof: '226-227 230-232 234-235' },
  {
    name: 'proxy_call_foreign_function',
    proof: '241-243',
    note: '[`foreign_functions`](configuration.md#foreign-functions)'
  }
]

const INSTANCE = 'lib/host/instance.ts'
const PLUGIN = 'lib/host/plugin-context.ts'
const HTTP = 'lib/host/http-context.ts'
const CONTEXT = 'lib/host/context.ts'
const GRPC = 'lib/host/outstanding-grpc.ts'

/** What a module exports, and the host calls. */
export const CALLBACKS: readonly Row[] = [
  { name: '_initialize', proof: '11-12 14 17-18', file: INSTANCE },
  { name: 'main', proof: '12-13', file: INSTANCE, note: 'after `_initialize`' },
  { name: '_start', proof: '11 13 16', file: INSTANCE, note: 'without `_initialize`' },
  { name: 'proxy_on_memory_allocate', proof: '8-9 26-29 65', file: INSTANCE },
  { name: 'malloc', proof: '8-10', file: INSTANCE, note: 'without `proxy_on_memory_allocate`' },
  { name: 'proxy_on_context_create', proof: '38-39 46-49 60', file: PLUGIN, note: 'HTTP contexts: `http-context.ts`' },
  { name: 'proxy_on_vm_start', proof: '38-40 43 45', file: INSTANCE },
  { name: 'proxy_on_configure', proof: '38 41 44-45 197', file: PLUGIN },
  { name: 'proxy_on_tick', proof: '55 62 86 198 236-240', file: PLUGIN },
  { name: 'proxy_on_queue_ready', proof: '223-224', file: PLUGIN },
  {
    name: 'proxy_on_foreign_function',
    proof: '244',
    versions: FROM_0_2_0,
    file: PLUGIN,
    note: 'by `app.wasmGateway.callForeignFunction`; not called in a module of 0.1.0'
  },
  { name: 'proxy_on_request_headers', proof: '72-74 77-81 88-89 97-98 169-170', file: HTTP },
  { name: 'proxy_on_request_body', proof: '73 75-76 80 82 84 86-87 157 172', file: HTTP },
  { name: 'proxy_on_request_trailers', proof: '75', file: HTTP },
  { name: 'proxy_on_response_headers', proof: '97 169 173', file: HTTP },
  { name: 'proxy_on_response_body', proof: '83-85 155 174', file: HTTP },
  { name: 'proxy_on_response_trailers', proof: 'trailers.test.ts', file: HTTP },
  { name: 'proxy_on_http_call_response', proof: '184-192 194-202', file: 'lib/host/outstanding-calls.ts' },
  { name: 'proxy_on_grpc_receive_initial_metadata', proof: 'grpc.test.ts', file: GRPC },
  { name: 'proxy_on_grpc_receive', proof: 'grpc.test.ts', file: GRPC },
  { name: 'proxy_on_grpc_receive_trailing_metadata', proof: 'grpc.test.ts', file: GRPC },
  { name: 'proxy_on_grpc_close', proof: 'grpc.test.ts', file: GRPC },
  { name: 'proxy_on_done', proof: '50-54 57-59 171', file: CONTEXT },
  { name: 'proxy_on_log', proof: '50-52 58 129-130 168 171 176', file: HTTP },
  { name: 'proxy_on_delete', proof: '50-55 57-59 171', file: CONTEXT }
]

/** Specified, and never called: a filter of TCP connections has nothing to do here. */
export const NEVER_CALLED: readonly Row[] = [
  'proxy_on_new_connection',
  'proxy_on_downstream_data',
  'proxy_on_downstream_connection_close',
  'proxy_on_upstream_data',
  'proxy_on_upstream_connection_close'
].map((name) => ({ name, proof: '' }))

export const WASI: readonly Row[] = [
  { name: 'fd_write', proof: '21 24 265-269', note: 'to 1: lines at info, to 2: at error; others `EBADF`' },
  { name: 'fd_pwrite', proof: 'wasi.test.ts', note: 'the same' },
  { name: 'environ_get', proof: '274-275', note: '`env` of the plugin' },
  { name: 'environ_sizes_get', proof: '274-275', note: 'the same' },
  { name: 'args_get', proof: 'wasi.test.ts', note: 'none' },
  { name: 'args_sizes_get', proof: '276', note: 'none' },
  { name: 'clock_time_get', proof: '270-272', note: 'clocks 0 (real time) and 1 (monotonic); others `ENOTSUP`' },
  { name: 'clock_res_get', proof: 'wasi.test.ts', note: 'the same' },
  { name: 'random_get', proof: '273', note: 'from the operating system, up to 64 KiB a call' },
  {
    name: 'poll_oneoff',
    proof: '278-279',
    note: 'sleeps until the first clock is due, at most 100 ms'
  },
  { name: 'sched_yield', proof: '280', note: '0' },
  { name: 'proc_exit', proof: '16-17 71', note: 'a trap; with code 0 during `_start` the end of it' },
  { name: 'fd_close', proof: 'wasi.test.ts', note: '1 and 2: 0; others `EBADF`' },
  { name: 'fd_seek', proof: 'wasi.test.ts', note: '1 and 2: `ENOTSUP`; others `EBADF`' },
  { name: 'fd_fdstat_get', proof: 'wasi.test.ts', note: '1 and 2 can be written; others `EBADF`' },
  { name: 'fd_prestat_get', proof: '277', note: '`EBADF`: no directory is open' },
  { name: 'fd_filestat_get', proof: 'wasi.test.ts', note: '`EBADF`' },
  { name: 'path_open', proof: '281', note: '`ENOENT`' },
  ...['fd_fdstat_set_flags', 'fd_prestat_dir_name', 'fd_read', 'fd_pread'].map((name) => ({
    name,
    proof: 'wasi.test.ts',
    note: '`ENOSYS`, as everything else'
  }))
]

/** What holds for all functions. */
export const WHOLE_HOST: readonly Row[] = [
  { name: 'the marker `proxy_abi_version_…`, an exported function, says the version', proof: '1-7' },
  { name: 'what is imported and not known is a function that answers `Unimplemented`', proof: '19-20' },
  { name: 'a start section, modules without an entry function, an import named twice', proof: '14-15 21' },
  { name: '`abort` of AssemblyScript', proof: '23' },
  { name: 'pointers, lengths and cells: checked, unsigned, unaligned; empty data', proof: '25-36' },
  { name: 'an exception in the host is a status', proof: '37' },
  {
    name: 'a trap ends the instance, and what it had in flight; the next request gets a fresh one',
    proof: '66-71'
  }
]
