import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { FST_WASM_ABI_UNKNOWN, FST_WASM_MODULE_INVALID } from '../errors.ts'
import { type Instrumented, instrument, type Wanted } from './metering/instrument.ts'
import { sectionsOf } from './metering/module-reader.ts'
import { Unsupported } from './metering/unsupported.ts'
import { producersOf } from './producers.ts'
import { guessSdk, isRust, type SdkGuess } from './sdk.ts'
import { trivialExports } from './trivial-exports.ts'

/** The ABI versions that this host speaks, newest first. */
export type AbiVersion = '0.2.1' | '0.2.0' | '0.1.0'

const HIGRESS_MARKER = 'proxy_abi_version_0_2_100'

const ABI_MARKERS: readonly (readonly [string, AbiVersion])[] = [
  ['proxy_abi_version_0_2_1', '0.2.1'],
  ['proxy_abi_version_0_2_0', '0.2.0'],
  ['proxy_abi_version_0_1_0', '0.1.0'],
  // Higress: 0.2.1 with functions of its own.
  [HIGRESS_MARKER, '0.2.1']
]

/** A compiled Proxy-Wasm module, which any number of plugins may instantiate. */
export interface Module {
  readonly compiled: object
  /** SHA-256 of the bytes, in hexadecimal */
  readonly digest: string
  readonly abiVersion: AbiVersion
  /** Whether a pause in a headers callback still wants the body, as in Higress */
  readonly pausesBeforeBody: boolean
  /** Whether it has a callback for request bodies */
  readonly readsRequestBody: boolean
  /** Whether it has a callback for response trailers */
  readonly seesResponseTrailers: boolean
  /** Whether it panics at statuses that it does not expect of a host function, as Rust's SDK does */
  readonly panicsAtStatuses: boolean
  /** What it seems to be made with */
  readonly sdk: SdkGuess | null
  /** The functions that the module imports */
  readonly imports: readonly Import[]
  /** The memories that it imports, in pages */
  readonly importedMemories: readonly (Import & { readonly initial: number; readonly maximum: number })[]
  readonly limits: ModuleLimits
  /** The export that wants the hook that stops it (`metering/clock.ts`); `undefined`: it cannot be stopped */
  readonly hookTable: string | undefined
  /** The export that stands in place of its start section */
  readonly start: string | undefined
  /** The exports that do nothing but return a number, or nothing, which is 0 */
  readonly trivial: ReadonlyMap<string, number>
}

export interface Import {
  readonly module: string
  readonly name: string
}

/** As one text: `env.proxy_log` */
export function fullName({ module, name }: Import): string {
  return `${module}.${name}`
}

/** What a module is compiled for. */
export interface ModuleLimits {
  /** Whether calls into it can be stopped */
  readonly stoppable: boolean
  /** MiB of its linear memory, 0: no limit but WebAssembly's own, of 4 GiB */
  readonly memoryMib: number
}

const PAGES_PER_MIB = 16
const MAX_PAGES = 65_536
export const DEFAULT_MODULE_LIMITS: ModuleLimits = { stoppable: true, memoryMib: 1024 }

/**
 * Compiles a module, off the event loop, and finds out which ABI it speaks. The marker is an exported function; it is
 * never called (specification, "Functions implemented in the module").
 *
 * @param name the plugin, for the error
 * @param limits what is compiled into it; by default it can be stopped, and have 1024 MiB
 * @param origin where the bytes come from, for the error
 * @throws FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN
 */
export async function loadModule(
  name: string,
  bytes: Uint8Array,
  limits: ModuleLimits = DEFAULT_MODULE_LIMITS,
  origin: string = 'what was given'
): Promise<Module> {
  let compiled: WebAssembly.Module
  let instrumented: Instrumented
  try {
    const { stoppable, memoryMib } = limits
    const maxPages = memoryMib === 0 ? MAX_PAGES : Math.min(MAX_PAGES, Math.floor(memoryMib * PAGES_PER_MIB))
    const rewritten = await inTurns(() => rewrite(bytes, { stoppable, maxPages }))
    // Says what is wrong with one that is not valid.
    if (rewritten === undefined) throw await WebAssembly.compile(bytes)
    instrumented = rewritten
    compiled = await WebAssembly.compile(instrumented.bytes)
  } catch (error) {
    const { message } = error as Error
    const reason = error instanceof Unsupported ? `it has what this host does not run: ${message}` : message
    throw new FST_WASM_MODULE_INVALID(name, origin, reason, { cause: error as Error })
  }

  const functions = new Set<string>()
  let hasMemory = false
  for (const { name: exported, kind } of WebAssembly.Module.exports(compiled)) {
    if (kind === 'function') functions.add(exported)
    if (kind === 'memory' && exported === 'memory') hasMemory = true
  }
  const marker = ABI_MARKERS.find(([exported]) => functions.has(exported))
  if (marker === undefined) {
    const found = [...functions].filter((exported) => exported.startsWith('proxy_abi_version_'))
    throw new FST_WASM_ABI_UNKNOWN(name, origin, found.length > 0 ? found.join(', ') : 'no proxy_abi_version_…')
  }
  if (!functions.has('proxy_on_memory_allocate') && !functions.has('malloc')) {
    throw new FST_WASM_MODULE_INVALID(
      name,
      origin,
      'it exports neither proxy_on_memory_allocate nor malloc, so no data could be handed to it'
    )
  }
  const imports = WebAssembly.Module.imports(compiled)
  const other = imports.find(({ kind }) => kind !== 'function' && kind !== 'memory')
  if (other !== undefined) {
    throw new FST_WASM_MODULE_INVALID(
      name,
      origin,
      `it imports the ${other.kind} ${other.module}.${other.name}; a host gives functions and memory only`
    )
  }
  const importedMemories = imports
    .filter(({ kind }) => kind === 'memory')
    .map((memory, i) => ({ ...memory, ...instrumented.importedMemories[i]! }))
  if (!hasMemory && importedMemories.length === 0) {
    throw new FST_WASM_MODULE_INVALID(name, origin, 'it neither exports nor imports a memory')
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const producers = producersOf(bytes, sectionsOf(bytes))
  return {
    compiled,
    digest: digestOf(bytes),
    abiVersion: marker[1],
    pausesBeforeBody: marker[0] === HIGRESS_MARKER,
    readsRequestBody: functions.has('proxy_on_request_body'),
    seesResponseTrailers: functions.has('proxy_on_response_trailers'),
    panicsAtStatuses: isRust(buffer, producers),
    sdk: guessSdk({ bytes: buffer, producers, exports: functions, imports: new Set(imports.map(fullName)) }) ?? null,
    imports: imports.filter(({ kind }) => kind === 'function'),
    importedMemories,
    limits,
    hookTable: instrumented.hookTable,
    start: instrumented.start,
    trivial: trivialExports(bytes)
  }
}

/** Nothing, where the module is not valid. */
function* rewrite(bytes: Uint8Array, wanted: Wanted): Generator<void, Instrumented | undefined> {
  if (!WebAssembly.validate(bytes)) return undefined
  yield
  return yield* instrument(bytes, wanted)
}

/** So long, in milliseconds, one turn of the event loop works on a module. */
const TURN_MS = 10

/** What is worked on last: one module after the other, or their turns would add up. */
let last: Promise<unknown> = Promise.resolve()

/** Takes all steps of something, and lets others do something now and then. */
function inTurns<Result>(steps: () => Generator<void, Result>): Promise<Result> {
  const result = last.then(() => takeAll(steps()))
  last = result.catch(() => {})
  return result
}

async function takeAll<Result>(steps: Generator<void, Result>): Promise<Result> {
  await turn()
  let begin = performance.now()
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    if (performance.now() - begin < TURN_MS) continue
    await turn()
    begin = performance.now()
  }
}

/** SHA-256 in hexadecimal: what tells two modules apart. */
export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
