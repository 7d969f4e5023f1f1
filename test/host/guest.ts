import { wat } from '../wat.ts'

/** What stands in cells that nothing has written. */
export const UNTOUCHED = 0xeeeeeeee

const DATA = 1024
const CELLS = 16384
const EVENTS = 65536
const EVENT_SIZE = 24
const HEAP = 131072

/** Exports by name: how many parameters, and what they answer unless `returns` says otherwise (`null`: nothing). */
export const EXPORTS: Record<string, readonly [number, number | null]> = {
  _initialize: [0, null],
  _start: [0, null],
  main: [2, 0],
  proxy_on_context_create: [2, null],
  proxy_on_vm_start: [2, 1],
  proxy_on_configure: [2, 1],
  proxy_on_tick: [1, null],
  proxy_on_queue_ready: [2, null],
  proxy_on_foreign_function: [3, null],
  proxy_on_request_headers: [3, 0],
  proxy_on_request_body: [3, 0],
  proxy_on_request_trailers: [2, 0],
  proxy_on_response_headers: [3, 0],
  proxy_on_response_body: [3, 0],
  proxy_on_response_trailers: [2, 0],
  proxy_on_http_call_response: [5, null],
  proxy_on_grpc_receive_initial_metadata: [3, null],
  proxy_on_grpc_receive: [3, null],
  proxy_on_grpc_receive_trailing_metadata: [3, null],
  proxy_on_grpc_close: [3, null],
  proxy_on_done: [1, 1],
  proxy_on_log: [1, null],
  proxy_on_delete: [1, null]
}

/** Operands of a call, and what stands in memory for them. */
export interface Operand {
  readonly wat: string
  readonly types: string
  /** Where it is in memory. */
  readonly at: number
}

/** A call of a host function at one place of a guest's code. Its status is kept in memory. */
export interface Call {
  readonly wat: string
  readonly status: number
  /** The pointer cell and size cell, when there was a `result()` among the arguments. */
  readonly result: number | undefined
}

export type Step = Call | string
/** An i32, an i64, or something in memory. */
export type Argument = number | bigint | Operand

export interface GuestOptions {
  /** the marker; null: none */
  abi?: '0_1_0' | '0_2_0' | '0_2_1' | null
  /** allocators by name, with their WAT instead of the one that works */
  allocators?: Record<string, string>
  wasi?: 'wasi_snapshot_preview1' | 'wasi_unstable'
  pages?: number
  /** WAT after the imports */
  extra?: string
}

/**
 * Writes a module whose callbacks call host functions. It keeps the status of every call, and which of its exports were
 * called, where `Host` finds them.
 */
export class Guest {
  /** The names of recorded events by number. */
  readonly names: string[] = []
  readonly #options: GuestOptions
  readonly #imports: Map<string, string> = new Map()
  readonly #bodies: Map<string, string[]> = new Map()
  readonly #returns: Map<string, number> = new Map()
  readonly #data: string[] = []
  #dataAt = DATA
  #cellAt = CELLS

  constructor(options: GuestOptions = {}) {
    this.#options = options
  }

  /** Bytes: a pointer and a length. */
  text(text: string | Uint8Array): Operand {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    const at = this.#dataAt
    const escaped = [...bytes].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('')
    this.#data.push(`(data (i32.const ${at}) "${escaped}")`)
    this.#dataAt += bytes.length + 1
    return { wat: `(i32.const ${at}) (i32.const ${bytes.length})`, types: 'i32 i32', at }
  }

  /** What WASI writes from: a pointer to io vectors, and how many. */
  iovs(...texts: (string | Uint8Array)[]): Operand {
    const vectors = Buffer.alloc(texts.length * 8)
    texts.forEach((text, i) => {
      vectors.writeUInt32LE(this.text(text).at, i * 8)
      vectors.writeUInt32LE(Buffer.byteLength(text), i * 8 + 4)
    })
    const { at } = this.text(vectors)
    return { wat: `(i32.const ${at}) (i32.const ${texts.length})`, types: 'i32 i32', at }
  }

  /** A pointer to a cell of its own. */
  cell(size: number = 4): Operand {
    const at = this.#cellAt
    this.#cellAt += Math.ceil(size / 4) * 4
    return { wat: `(i32.const ${at})`, types: 'i32', at }
  }

  /** A pointer cell and a size cell. */
  result(): Operand {
    const { at } = this.cell(8)
    return { wat: `(i32.const ${at}) (i32.const ${at + 4})`, types: 'i32 i32', at }
  }

  /** What stands in a cell at the time of the call. */
  loaded(cell: Operand): Operand {
    return { wat: `(i32.load ${cell.wat})`, types: 'i32', at: -1 }
  }

  /** A parameter of the callback. */
  parameter(index: number): Operand {
    return { wat: `(local.get ${index})`, types: 'i32', at: -1 }
  }

  /** Calls a host function: of `env` when it is Proxy-Wasm's, else of WASI. */
  call(name: string, ...args: Argument[]): Call {
    const module = name.startsWith('proxy_') ? 'env' : (this.#options.wasi ?? 'wasi_snapshot_preview1')
    return this.callOf(module, name, ...args)
  }

  callOf(module: string, name: string, ...args: Argument[]): Call {
    const operands = args.map((arg) => {
      if (typeof arg === 'number') return { wat: `(i32.const ${arg})`, types: 'i32' }
      return typeof arg === 'bigint' ? { wat: `(i64.const ${arg})`, types: 'i64' } : arg
    })
    const result = name === 'proc_exit' || name === 'abort' ? '' : '(result i32)'
    const types = operands.map(({ types }) => types).join(' ')
    this.#imports.set(name, `(import "${module}" "${name}" (func $${name} (param ${types}) ${result}))`)
    const call = `(call $${name} ${operands.map(({ wat }) => wat).join(' ')})`
    const status = this.cell().at
    const cells = args.find((arg) => typeof arg === 'object' && arg.at >= CELLS && arg.types === 'i32 i32') as Operand
    return { wat: result === '' ? call : `(i32.store (i32.const ${status}) ${call})`, status, result: cells?.at }
  }

  /** Records an event of that name. */
  mark(name: string): string {
    return `(call $event (i32.const ${this.#event(name)})${' (i32.const 0)'.repeat(5)})`
  }

  /** Does the steps when a parameter has a value. */
  when(parameter: number, value: number, ...steps: Step[]): string {
    return `(if (i32.eq (local.get ${parameter}) (i32.const ${value})) (then ${stepsWat(steps)}))`
  }

  /** Adds to what an export does. Every export that is named here records its calls. */
  on(name: string, ...steps: Step[]): this {
    const body = this.#bodies.get(name) ?? []
    this.#bodies.set(name, body)
    body.push(stepsWat(steps))
    return this
  }

  /** Exports that do nothing but record their calls. */
  record(...names: string[]): this {
    for (const name of names) this.on(name)
    return this
  }

  /** What an export answers. */
  returns(name: string, value: number): this {
    this.#returns.set(name, value)
    return this.on(name)
  }

  async module(): Promise<Uint8Array> {
    const { abi = '0_2_1', allocators = { proxy_on_memory_allocate: bump }, pages = 4, extra = '' } = this.#options
    const exports = [...this.#bodies].map(([name, body]) => this.#export(name, body))
    const heap = Object.entries(allocators).map(
      ([name, body]) => `(func (export "${name}") (param i32) (result i32)
        ${this.#record(name, 1)} ${body})`
    )
    const untouched = '\\ee'.repeat(this.#cellAt - CELLS)
    return wat(`(module
      ${[...this.#imports.values()].join('\n')}
      (memory (export "memory") ${pages})
      (global $heap (mut i32) (i32.const ${HEAP}))
      (global $event_at (mut i32) (i32.const ${EVENTS}))
      ${abi === null ? '' : `(func (export "proxy_abi_version_${abi}") ${this.#record('version', 0)})`}
      (func $event ${'(param i32) '.repeat(6)}
        (if (i32.gt_u (global.get $event_at) (i32.const ${HEAP - EVENT_SIZE})) (then return))
        ${[0, 1, 2, 3, 4, 5].map((i) => `(i32.store offset=${i * 4} (global.get $event_at) (local.get ${i}))`).join('\n')}
        (global.set $event_at (i32.add (global.get $event_at) (i32.const ${EVENT_SIZE}))))
      (data (i32.const ${CELLS}) "${untouched}")
      ${this.#data.join('\n')}
      ${heap.join('\n')}
      ${exports.join('\n')}
      ${extra})`)
  }

  /** Which exports were called, and with what, as `context_create(1, 0)`; and the marks, by their name alone. */
  events(u32: (address: number) => number): string[] {
    const events: string[] = []
    for (let at = EVENTS; u32(at) !== 0 && at + EVENT_SIZE < HEAP; at += EVENT_SIZE) {
      const name = this.names[u32(at) - 1]!
      const count = this.#parameters(name)
      if (count === undefined) events.push(name)
      else {
        const args = Array.from({ length: count }, (_, i) => u32(at + 4 + i * 4))
        events.push(`${name.replace('proxy_on_', '')}(${args.join(', ')})`)
      }
    }
    return events
  }

  #parameters(name: string): number | undefined {
    if (name === 'proxy_on_memory_allocate' || name === 'malloc') return 1
    if (this.#options.abi === '0_1_0' && /^proxy_on_re.*_headers$/.test(name)) return 2
    return EXPORTS[name]?.[0]
  }

  #export(name: string, body: string[]): string {
    const returns = this.#returns.get(name) ?? EXPORTS[name]![1]
    const count = this.#parameters(name)!
    return `(func (export "${name}") ${'(param i32) '.repeat(count)} ${returns === null ? '' : '(result i32)'}
      ${this.#record(name, count)}
      ${body.join('\n')}
      ${returns === null ? '' : `(i32.const ${returns})`})`
  }

  #record(name: string, count: number): string {
    const args = Array.from({ length: 5 }, (_, i) => (i < count ? `(local.get ${i})` : '(i32.const 0)'))
    return `(call $event (i32.const ${this.#event(name)}) ${args.join(' ')})`
  }

  #event(name: string): number {
    if (!this.names.includes(name)) this.names.push(name)
    return this.names.indexOf(name) + 1
  }
}

/** An allocator that hands out memory from the heap on. */
export const bump = '(global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0)))'

function stepsWat(steps: readonly Step[]): string {
  return steps.map((step) => (typeof step === 'string' ? step : step.wat)).join('\n')
}
