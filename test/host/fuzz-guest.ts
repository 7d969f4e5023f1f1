import { hostFunctionNames } from '../../lib/host/abi/imports.ts'
import { wat } from '../wat.ts'
import { EXPORTS } from './guest.ts'

/** Where the calls are read from that the module makes: one, and one that its allocator makes meanwhile. */
export const FIRST = 256
export const SECOND = 384
/** Offsets of a call: the number of its function comes first. */
export const ARGUMENTS = 8
export const RESULT = 104
/** What the allocator does. */
export const MODE = 512
/** What the callbacks answer. */
export const ANSWER = 516
/** Whether the module catches what its calls throw: what has ended it, too. It then goes on calling. */
export const CATCHES = 520
const NAME = 524
/** What pointers of calls may point to; what they write may end behind it. */
export const WINDOW = { from: 1024, to: 65536 } as const
/** What no call names, nor any that it leads to. */
export const CANARY = { from: 131072, to: 196608 } as const
/** What the allocator hands out, from the beginning again at each call. */
export const HEAP: number = CANARY.to
const MAX_PAGES = 40

/** Instead of a function's number: the callback returns. */
export const STOP = 0xffffffff
export const MAX_ARGUMENTS = 12
export const AllocatorMode = { Works: 0, Null: 1, OutOfBounds: 2, Grows: 3, Calls: 4, Traps: 5 } as const

/** The parameters that a module may say that a function has: enough, too few, 64-bit ones among them. */
const SHAPES: readonly (readonly ('i32' | 'i64')[])[] = [
  new Array(MAX_ARGUMENTS).fill('i32'),
  new Array(MAX_ARGUMENTS).fill('i32').with(1, 'i64'),
  new Array(MAX_ARGUMENTS).fill('i32').with(3, 'i64'),
  new Array(10).fill('i32'),
  new Array(7).fill('i32'),
  new Array(3).fill('i32'),
  []
]
/** Whose second parameter is 64 bits wide. */
const WIDE = ['proxy_increment_metric', 'proxy_record_metric', 'clock_time_get']

/** A host function as the module imports it. */
export interface Import {
  readonly module: string
  readonly name: string
  readonly shape: readonly ('i32' | 'i64')[]
  /** Whether the parameters are those that the function has, or more. */
  readonly isRight: boolean
}

/** By their numbers. */
export const IMPORTS: readonly Import[] = Object.entries(hostFunctionNames())
  .filter(([module]) => module !== 'wasi_unstable')
  .flatMap(([module, names]) => names.map((name) => ({ module, name })))
  .flatMap(({ module, name }) =>
    SHAPES.map((shape, i) => ({ module, name, shape, isRight: i === (WIDE.includes(name) ? 1 : 0) }))
  )

/**
 * A module that calls whatever host function JavaScript wants, with any arguments, from inside of whatever callback it is
 * in: each asks the foreign function `next` what to call, until that says to stop. Its export `step` makes one call outside of
 * any callback.
 */
export function fuzzGuest(): Promise<Uint8Array> {
  const imports = IMPORTS.map(
    ({ module, name, shape }, i) =>
      `(import "${module}" "${name}" (func $f${i} (param ${shape.join(' ')}) (result i32)))`
  )
  const calls = IMPORTS.map(({ shape }, i) => {
    const loads = shape.map((type, k) => `(${type}.load offset=${ARGUMENTS + k * 8} (local.get $at))`)
    return `(func $t${i} (type $call) (param $at i32) (result i32) (call $f${i} ${loads.join(' ')}))`
  })
  const callbacks = Object.entries(EXPORTS)
    .filter(([name]) => name.startsWith('proxy_on_'))
    .map(([name, [count, returns]]) => {
      // The instance would have failed.
      const answer = name === 'proxy_on_vm_start' ? '(i32.const 1)' : `(i32.load (i32.const ${ANSWER}))`
      const result = returns === null ? ['', ''] : ['(result i32)', answer]
      return `(func (export "${name}") ${'(param i32) '.repeat(count)} ${result[0]} (call $run) ${result[1]})`
    })
  return wat(`(module
    (type $call (func (param i32) (result i32)))
    (import "env" "proxy_call_foreign_function" (func $next (param i32 i32 i32 i32 i32 i32) (result i32)))
    ${imports.join('\n')}
    (memory (export "memory") 4)
    (table ${IMPORTS.length} funcref)
    (elem (i32.const 0) ${IMPORTS.map((_, i) => `$t${i}`).join(' ')})
    (global $heap (mut i32) (i32.const ${HEAP}))
    (global $nested (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))
    ${calls.join('\n')}
    (func $step (export "step") (param $at i32)
      (i32.store offset=${RESULT} (local.get $at)
        (call_indirect (type $call) (local.get $at)
          (i32.rem_u (i32.load (local.get $at)) (i32.const ${IMPORTS.length})))))
    (func $run
      (loop $again
        (i32.store (i32.const ${NAME}) (i32.const ${Buffer.from('next').readUInt32LE()}))
        (if (call $next (i32.const ${NAME}) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (then return))
        (if (i32.eq (i32.load (i32.const ${FIRST})) (i32.const ${STOP})) (then return))
        (global.set $heap (i32.const ${HEAP}))
        (if (i32.load (i32.const ${CATCHES}))
          (then (try (do (call $step (i32.const ${FIRST}))) (catch_all)))
          (else (call $step (i32.const ${FIRST}))))
        (br $again)))
    (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
      (local $mode i32)
      (local.set $mode (i32.load (i32.const ${MODE})))
      (if (i32.eq (local.get $mode) (i32.const ${AllocatorMode.Null})) (then (return (i32.const 0))))
      (if (i32.eq (local.get $mode) (i32.const ${AllocatorMode.OutOfBounds})) (then (return (i32.const -1))))
      (if (i32.and (i32.eq (local.get $mode) (i32.const ${AllocatorMode.Grows}))
          (i32.lt_u (memory.size) (i32.const ${MAX_PAGES}))) (then (drop (memory.grow (i32.const 1)))))
      (if (i32.and (i32.eq (local.get $mode) (i32.const ${AllocatorMode.Calls}))
          (i32.eqz (global.get $nested)))
        (then
          (global.set $nested (i32.const 1))
          (call $step (i32.const ${SECOND}))
          (global.set $nested (i32.const 0))))
      (if (i32.eq (local.get $mode) (i32.const ${AllocatorMode.Traps})) (then unreachable))
      global.get $heap
      (global.set $heap (i32.add (global.get $heap) (local.get $size))))
    ${callbacks.join('\n')})`)
}
