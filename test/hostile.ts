/** What fixtures/hostile does: the letters of its configuration, which are where and what. */
export const WHERE = {
  allocator: 'a',
  vm_start: 'b',
  configure: 'c',
  tick: 'd',
  queue_ready: 'e',
  context_create: 'f',
  request_headers: 'g',
  request_body: 'h',
  response_headers: 'i',
  response_body: 'j',
  http_call_response: 'k',
  done: 'l',
  log: 'm',
  delete: 'n'
} as const
export type Where = keyof typeof WHERE

/** What ends in a trap by itself. */
export const TRAPS = {
  unreachable: 'a',
  'division by zero': 'b',
  'a load out of bounds': 'c',
  'an indirect call of another type': 'd',
  'an indirect call of null': 'e',
  'a stack overflow': 'f',
  proc_exit: 'o'
} as const

/** What never ends by itself. */
export const LOOPS = {
  'a plain loop': 'g',
  'a loop by br_table': 'h',
  'a recursion that branches': 'i',
  'a loop with a callee': 'j',
  'a loop of memory.fill': 'k',
  'a loop of host calls': 'l',
  'a loop of tail calls': 'm',
  'a loop that catches everything': 'n'
} as const

/** What does no harm in the end: it logs `still here`. */
export const HARMLESS = { 'bad pointers': 'p', 'memory that grows until it may not': 'q' } as const
