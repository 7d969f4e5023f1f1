import { createHash } from 'node:crypto'
import { FST_WASM_ABI_UNKNOWN, FST_WASM_MODULE_INVALID } from '../errors.ts'

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
  /** What the module imports, without what is no function */
  readonly imports: readonly { readonly module: string; readonly name: string }[]
}

/**
 * Compiles a module, off the event loop, and finds out which ABI it speaks. The marker is an exported function; it is
 * never called (specification, "Functions implemented in the module").
 *
 * @param name the plugin, for the error
 * @throws FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN
 */
export async function loadModule(name: string, bytes: Uint8Array): Promise<Module> {
  let compiled: WebAssembly.Module
  try {
    compiled = await WebAssembly.compile(bytes)
  } catch (error) {
    throw new FST_WASM_MODULE_INVALID(name, (error as Error).message, { cause: error as Error })
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
    throw new FST_WASM_ABI_UNKNOWN(name, found.length > 0 ? found.join(', ') : 'no proxy_abi_version_…')
  }
  if (!functions.has('proxy_on_memory_allocate') && !functions.has('malloc')) {
    throw new FST_WASM_MODULE_INVALID(
      name,
      'it exports neither proxy_on_memory_allocate nor malloc, so no data could be handed to it'
    )
  }
  if (!hasMemory) throw new FST_WASM_MODULE_INVALID(name, 'it exports no memory')

  const imports = WebAssembly.Module.imports(compiled)
  const other = imports.find(({ kind }) => kind !== 'function')
  if (other !== undefined) {
    throw new FST_WASM_MODULE_INVALID(
      name,
      `it imports the ${other.kind} ${other.module}.${other.name}; a host gives functions only`
    )
  }
  return {
    compiled,
    digest: digestOf(bytes),
    abiVersion: marker[1],
    pausesBeforeBody: marker[0] === HIGRESS_MARKER,
    readsRequestBody: functions.has('proxy_on_request_body'),
    seesResponseTrailers: functions.has('proxy_on_response_trailers'),
    imports
  }
}

/** SHA-256 in hexadecimal: what tells two modules apart. */
export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
