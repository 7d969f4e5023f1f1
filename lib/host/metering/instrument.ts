import { MAX_EXCEPTION_VALUES, MAX_TABLE_ENTRIES } from '../limits.ts'
import { ByteWriter } from './byte-writer.ts'
import { type CodeTarget, rewriteCode, writeOut } from './code.ts'
import { numberAt, Op, skipNumber } from './instructions.ts'
import {
  customNameOf,
  type Export,
  elementsReferTo,
  exportsOf,
  type FunctionType,
  functionTypesOf,
  globalsHoldExceptions,
  globalsReferTo,
  type Imports,
  importsOf,
  type Limits,
  memoriesOf,
  type Section,
  SectionId,
  sectionsOf,
  skipName,
  tablesOf,
  tablesReferTo,
  tagTypesOf,
  typesOf
} from './module-reader.ts'
import { hasShortNames } from './names.ts'
import { Unsupported } from './unsupported.ts'

/** What is to become of a module. */
export interface Wanted {
  /** Whether calls into it can be stopped. */
  readonly stoppable: boolean
  /** Pages that its memories may have together */
  readonly maxPages: number
}

export interface Instrumented {
  readonly bytes: Uint8Array
  /** The export that is a table, whose only place wants the hook before anything runs; only where it can be stopped */
  readonly hookTable: string | undefined
  /** The export to be called first, in place of the start section; where there was one, and it can be stopped */
  readonly start: string | undefined
  /** The limits of memories that it imports, in their order */
  readonly importedMemories: readonly { readonly initial: number; readonly maximum: number }[]
}

const PREFIX = 'fastify-wasm-gateway:'
/** The order in which sections stand, by their ids. */
const ORDER = [
  SectionId.type,
  SectionId.import,
  SectionId.function,
  SectionId.table,
  SectionId.memory,
  SectionId.tag,
  SectionId.global,
  SectionId.export,
  SectionId.start,
  SectionId.element,
  SectionId.dataCount,
  SectionId.code,
  SectionId.data
]
const FUNCREF = 0x70
const I32 = 0x7f

/**
 * Rewrites a module so that a call into it can be stopped, and its memory cannot grow beyond a limit. What it does is the
 * same otherwise. Everything that is added stands at the end of its index space, so no index of the module changes, and
 * none of the module's reaches what is added.
 *
 * Large ones take a while: in steps, between which something else may be done.
 *
 * @param bytes a module that is valid: of one that is not, something else might become valid
 * @throws Unsupported
 */
export function* instrument(bytes: Uint8Array, wanted: Wanted): Generator<void, Instrumented> {
  return yield* new Rewriting(bytes, wanted).result()
}

class Rewriting {
  readonly #bytes: Uint8Array
  readonly #wanted: Wanted
  readonly #sections: readonly Section[]
  readonly #to: ByteWriter
  readonly #types: readonly FunctionType[]
  readonly #imports: Imports
  readonly #memories: readonly Limits[]
  readonly #pages: Share
  readonly #importedMemories: { initial: number; maximum: number }[] = []
  #hookTable: string | undefined
  #start: string | undefined

  constructor(bytes: Uint8Array, wanted: Wanted) {
    this.#bytes = bytes
    this.#wanted = wanted
    this.#sections = sectionsOf(bytes)
    this.#to = new ByteWriter(Math.ceil(bytes.length * 1.2) + 4096)
    this.#types = typesOf(bytes, this.#find(SectionId.type))
    this.#boundExceptions()
    this.#imports = importsOf(bytes, this.#find(SectionId.import))
    this.#memories = memoriesOf(bytes, this.#find(SectionId.memory))
    const memories = [...this.#imports.memories, ...this.#memories]
    this.#pages = new Share(memories, wanted.maxPages, 'pages of memory', 'limits.memory_mib allows, at 16 a MiB,')
  }

  *result(): Generator<void, Instrumented> {
    this.#to.copy(this.#bytes, 0, 8)
    const added = new Map<number, (section?: Section) => Buffer>([
      [SectionId.import, (section) => this.#cappedImports(section)],
      [SectionId.table, (section) => this.#cappedTables(section)],
      [SectionId.memory, (section) => this.#cappedMemories(section)]
    ])
    if (this.#wanted.stoppable) for (const [id, content] of yield* this.#additions()) added.set(id, content)
    // What is added to sections that are missing goes in before the next one of those that are there.
    let next = 0
    const writeAddedUpTo = (end: number) => {
      for (; next < end; next++) {
        const id = ORDER[next]!
        const content = added.get(id)
        if (content !== undefined && this.#find(id) === undefined) this.#write(id, content())
      }
    }
    for (const section of this.#sections) {
      const place = ORDER.indexOf(section.id as (typeof ORDER)[number])
      if (place === -1) {
        if (section.id !== SectionId.custom) throw new Unsupported(`sections with the id ${section.id}`)
        if (this.#isKept(section)) this.#copy(section)
        continue
      }
      writeAddedUpTo(place)
      next = place + 1
      const content = added.get(section.id)
      if (content === undefined) this.#copy(section)
      else this.#write(section.id, content(section))
    }
    writeAddedUpTo(ORDER.length)
    return {
      bytes: this.#to.bytes,
      hookTable: this.#hookTable,
      start: this.#start,
      importedMemories: this.#importedMemories
    }
  }

  /**
   * Exceptions are in V8's heap, where memory has no limit. They are small, and hang on what is on the stack alone, so that
   * there are as many as fit there.
   */
  #boundExceptions(): void {
    for (const type of tagTypesOf(this.#bytes, this.#find(SectionId.tag))) {
      const { parameters, takesException } = this.#types[type]!
      if (takesException) throw new Unsupported('exceptions that carry exceptions')
      if (parameters > MAX_EXCEPTION_VALUES) {
        throw new Unsupported(`exceptions with ${parameters} values, where there may be ${MAX_EXCEPTION_VALUES}`)
      }
    }
    if (globalsHoldExceptions(this.#bytes, this.#find(SectionId.global))) {
      throw new Unsupported('globals that hold exceptions')
    }
  }

  #find(id: number): Section | undefined {
    return this.#sections.find((section) => section.id === id)
  }

  #isKept(section: Section): boolean {
    const name = customNameOf(this.#bytes, section)
    if (name === 'name') return hasShortNames(this.#bytes, skipName(this.#bytes, section.start), section.end)
    // Hints for the compiler go by offsets in the code, which are others now.
    return !(this.#wanted.stoppable && name.startsWith('metadata.code.'))
  }

  #copy({ id, start, end }: Section): void {
    this.#to.byte(id)
    this.#to.number(end - start)
    this.#to.copy(this.#bytes, start, end)
  }

  /** An empty content: there is no such section. */
  #write(id: number, content: Buffer): void {
    if (content.length === 0) return
    this.#to.byte(id)
    this.#to.number(content.length)
    this.#to.copy(content, 0, content.length)
  }

  /** What makes the module stoppable, by section. */
  *#additions(): Generator<void, Map<number, (section?: Section) => Buffer>> {
    const bytes = this.#bytes
    const imports = this.#imports
    const functions = functionTypesOf(bytes, this.#find(SectionId.function))
    const hookType = this.#types.length
    const outType = hookType + 1
    const out = imports.functions.length + functions.length
    const table = imports.tables + this.#count(SectionId.table)
    const fuel = imports.globals + this.#count(SectionId.global)
    const exports = exportsOf(bytes, this.#find(SectionId.export))
    const names = new Set(exports.map(({ name }) => name))
    const start = this.#find(SectionId.start)
    this.#hookTable = nameBeside(names, 'hook')
    this.#start = start && nameBeside(names, 'start')
    const target = {
      importedFunctions: imports.functions.length,
      types: this.#types,
      functions: [...imports.functions, ...functions],
      hostIsReferenced: this.#refersToHost(imports.functions.length, exports),
      fuel,
      out
    }
    const code = yield* this.#code(target, hookType, table)
    const appended = (items: number, write: (to: ByteWriter) => void) => (section?: Section) =>
      append(bytes, section, items, write)
    return new Map<number, (section?: Section) => Buffer>([
      [
        SectionId.type,
        appended(2, (to) => {
          for (const byte of [0x60, 0, 1, I32]) to.byte(byte) // () -> i32
          for (const byte of [0x60, 0, 0]) to.byte(byte) // () -> ()
        })
      ],
      [SectionId.function, appended(1, (to) => to.number(outType))],
      [
        SectionId.table,
        (section) => {
          const bytes = this.#cappedTables(section)
          return append(bytes, section && { ...section, start: 0, end: bytes.length }, 1, (to) => {
            for (const byte of [FUNCREF, 1, 1, 1]) to.byte(byte)
          })
        }
      ],
      [
        SectionId.global,
        appended(1, (to) => {
          for (const byte of [I32, 1, Op.i32Const, 0, Op.end]) to.byte(byte)
        })
      ],
      [
        SectionId.export,
        appended(start === undefined ? 1 : 2, (to) => {
          to.name(this.#hookTable!)
          to.byte(1)
          to.number(table)
          if (start === undefined) return
          to.name(this.#start!)
          to.byte(0)
          to.copy(bytes, start.start, start.end)
        })
      ],
      // It would run before there is a hook.
      [SectionId.start, () => Buffer.alloc(0)],
      [SectionId.code, () => code]
    ])
  }

  /** The code section, with what is to be called when the fuel is used up. */
  *#code(target: CodeTarget, hookType: number, table: number): Generator<void, Buffer> {
    const section = this.#find(SectionId.code)
    const to = new ByteWriter(section === undefined ? 64 : Math.ceil((section.end - section.start) * 1.2) + 1024)
    if (section === undefined) to.number(1)
    else yield* rewriteCode(this.#bytes, section.start, target, to)
    writeOut(hookType, table, target.fuel, to)
    return to.bytes
  }

  #count(id: number): number {
    const section = this.#find(id)
    return section === undefined ? 0 : numberAt(this.#bytes, section.start)
  }

  /** Whether code may call the host other than by its index: no reference can be made to what is in none of these. */
  #refersToHost(importedFunctions: number, exports: readonly Export[]): boolean {
    return (
      exports.some(({ isFunction, index }) => isFunction && index < importedFunctions) ||
      elementsReferTo(this.#bytes, this.#find(SectionId.element), importedFunctions) ||
      globalsReferTo(this.#bytes, this.#find(SectionId.global), importedFunctions) ||
      tablesReferTo(this.#bytes, this.#find(SectionId.table), importedFunctions)
    )
  }

  #cappedMemories(section: Section | undefined): Buffer {
    return this.#capped(section, this.#memories, this.#pages)
  }

  #cappedTables(section: Section | undefined): Buffer {
    const tables = tablesOf(this.#bytes, section)
    const entries = new Share(tables, MAX_TABLE_ENTRIES, 'entries of tables', 'there may be')
    return this.#capped(section, tables, entries)
  }

  #cappedImports(section: Section | undefined): Buffer {
    const { memories } = this.#imports
    for (const limits of memories) {
      this.#importedMemories.push({ initial: limits.initial, maximum: this.#pages.of(limits) })
    }
    return this.#capped(section, memories, this.#pages)
  }

  /** A section with other limits in the places of those that stand in it. */
  #capped(section: Section | undefined, all: readonly Limits[], share: Share): Buffer {
    if (section === undefined) return Buffer.alloc(0)
    const bytes = this.#bytes
    const to = new ByteWriter(section.end - section.start + 64)
    let from = section.start
    for (const limits of all) {
      to.copy(bytes, from, limits.start)
      to.byte(1)
      to.number(limits.initial)
      to.number(share.of(limits))
      from = limits.end
    }
    to.copy(bytes, from, section.end)
    return to.bytes
  }
}

/** What may be had in all, which those that can grow share evenly. */
class Share {
  readonly #growth: number

  /** @throws Unsupported when they begin with more than that */
  constructor(all: readonly Limits[], most: number, what: string, allows: string) {
    const initial = all.reduce((sum, limits) => sum + limits.initial, 0)
    if (initial > most) throw new Unsupported(`${initial} ${what} at the start, where ${allows} ${most}`)
    this.#growth = Math.floor((most - initial) / all.length)
  }

  of({ initial, maximum }: Limits): number {
    return Math.min(maximum ?? Number.POSITIVE_INFINITY, initial + this.#growth)
  }
}

/** A section's content with some items more at its end. */
function append(
  bytes: Uint8Array,
  section: Section | undefined,
  items: number,
  write: (to: ByteWriter) => void
): Buffer {
  const to = new ByteWriter((section === undefined ? 0 : section.end - section.start) + 256)
  if (section === undefined) {
    to.number(items)
  } else {
    to.number(numberAt(bytes, section.start) + items)
    to.copy(bytes, skipNumber(bytes, section.start), section.end)
  }
  write(to)
  return to.bytes
}

/** A name that no export has. */
function nameBeside(names: ReadonlySet<string>, what: string): string {
  let name = PREFIX + what
  while (names.has(name)) name += '_'
  return name
}
