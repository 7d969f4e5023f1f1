import { hasHostFunction } from './abi/imports.ts'
import { CALLBACKS } from './instance.ts'
import { importsOf, memoriesOf, type Section, SectionId, sectionsOf } from './metering/module-reader.ts'
import { type AbiVersion, digestOf, fullName, loadModule } from './module.ts'
import { type Producers, producersOf } from './producers.ts'
import { guessSdk, type SdkGuess } from './sdk.ts'

/** What there is to know of a module without running it. */
export interface Inspection {
  /** Bytes */
  readonly size: number
  readonly sha256: string
  /** Whether it is a WebAssembly module; when it is none there is nothing but the problem below */
  readonly compiles: boolean
  /** Why this host cannot load it, the first reason; `null` when it can */
  readonly problem: string | null
  /** The ABI version that this host speaks with it */
  readonly abi_version: AbiVersion | null
  /** The exports that say which versions it is made for */
  readonly abi_markers: readonly string[]
  readonly sdk: SdkGuess | null
  readonly memory: { readonly initial_pages: number; readonly maximum_pages: number | null } | null
  /** What runs it first: an export, or its start section */
  readonly entry: string | null
  /** The export that memory is asked for */
  readonly allocator: string | null
  /** The callbacks that it exports */
  readonly callbacks: readonly string[]
  /** Those of them that this host never calls */
  readonly uncalled: readonly string[]
  /** The functions that it imports, by the name of the module that they are in */
  readonly imports: Readonly<Record<string, readonly string[]>>
  /** Those that this host does not have, as `module.name`: stubs stand in, which answer Unimplemented */
  readonly missing: readonly string[]
}

/** In the order in which the host looks for them. */
const ENTRIES = ['_initialize', '_start'] as const
const ALLOCATORS = ['proxy_on_memory_allocate', 'malloc'] as const

interface Import {
  readonly module: string
  readonly name: string
}

/** Describes a module, as far as that is possible also when it is none of Proxy-Wasm, or none at all. */
export async function inspectModule(bytes: Uint8Array): Promise<Inspection> {
  let problem: string | null = null
  let abiVersion: AbiVersion | null = null
  try {
    abiVersion = (await loadModule('', bytes, undefined, 'it')).abiVersion
  } catch (error) {
    problem = (error as Error).message.replace(/^plugin \[\]: /, '')
  }
  const compiled = await WebAssembly.compile(bytes).catch(() => undefined)
  const file = { size: bytes.length, sha256: digestOf(bytes), problem, abi_version: abiVersion }
  if (compiled === undefined) return { ...NOTHING, ...file }

  const exports = new Set(
    WebAssembly.Module.exports(compiled)
      .filter(isFunction)
      .map(({ name }) => name)
  )
  const imports = differentOf(WebAssembly.Module.imports(compiled).filter(isFunction))
  const callbacks = [...exports].filter((name) => name.startsWith('proxy_on_') && name !== ALLOCATORS[0]).sort()
  const called: readonly string[] = CALLBACKS
  const { memory, hasStartSection, producers } = readBinary(bytes)
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return {
    ...file,
    compiles: true,
    abi_markers: [...exports].filter((name) => name.startsWith('proxy_abi_version_')).sort(),
    sdk: guessSdk({ bytes: buffer, producers, exports, imports: new Set(imports.map(fullName)) }) ?? null,
    memory,
    entry: ENTRIES.find((name) => exports.has(name)) ?? (hasStartSection ? 'start section' : null),
    allocator: ALLOCATORS.find((name) => exports.has(name)) ?? null,
    callbacks,
    uncalled: callbacks.filter((name) => !called.includes(name)),
    imports: byModule(imports),
    missing: imports.filter(({ module, name }) => !hasHostFunction(module, name)).map(fullName)
  }
}

/** Of bytes that are no module. */
const NOTHING = {
  compiles: false,
  abi_markers: [],
  sdk: null,
  memory: null,
  entry: null,
  allocator: null,
  callbacks: [],
  uncalled: [],
  imports: {},
  missing: []
} as const

/** What the JavaScript interface of WebAssembly does not tell. */
function readBinary(
  bytes: Uint8Array
): Pick<Inspection, 'memory'> & { hasStartSection: boolean; producers: Producers } {
  const sections = sectionsOf(bytes)
  return {
    memory: readMemory(bytes, sections),
    hasStartSection: sections.some(({ id }) => id === SectionId.start),
    producers: producersOf(bytes, sections)
  }
}

/** The first memory, its own or imported. */
function readMemory(bytes: Uint8Array, sections: readonly Section[]): Inspection['memory'] {
  const find = (wanted: number) => sections.find(({ id }) => id === wanted)
  try {
    const imported = importsOf(bytes, find(SectionId.import)).memories
    const [memory] = [...imported, ...memoriesOf(bytes, find(SectionId.memory))]
    return memory === undefined ? null : { initial_pages: memory.initial, maximum_pages: memory.maximum ?? null }
  } catch {
    // Shared or of 64 bits: which is then why the module cannot be loaded.
    return null
  }
}

function isFunction({ kind }: { kind: string }): boolean {
  return kind === 'function'
}

/** Sorted. A module may list an import twice. */
function differentOf(imports: readonly Import[]): Import[] {
  const byName = new Map(imports.map((item) => [fullName(item), item]))
  return [...byName.keys()].sort().map((name) => byName.get(name)!)
}

function byModule(imports: readonly Import[]): Record<string, string[]> {
  // A module chooses these names.
  const names: Record<string, string[]> = Object.create(null)
  for (const { module, name } of imports) {
    names[module] ??= []
    names[module].push(name)
  }
  return names
}
