import { numberAt, Op, skipImmediates, skipNumber, skipType } from './instructions.ts'
import { Unsupported } from './unsupported.ts'

/** Ids of sections, and their order in a module (WebAssembly core specification, 5.5.2). */
export const SectionId = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
  tag: 13
} as const

export interface Section {
  readonly id: number
  /** Where its content begins, and where it ends. */
  readonly start: number
  readonly end: number
}

/** The kinds of what is imported, in the order of their numbers. */
const ImportKind = { function: 0, table: 1, memory: 2, global: 3, tag: 4 } as const

/** Limits of a memory, in pages, or of a table, in entries. */
export interface Limits {
  readonly initial: number
  readonly maximum: number | undefined
  /** Where they stand. */
  readonly start: number
  readonly end: number
}

export interface Table extends Limits {
  /** Whether an expression stands behind it: what all its entries are at the start. */
  readonly hasContent: boolean
}

export interface Imports {
  /** The types of the functions, by index. */
  readonly functions: readonly number[]
  readonly tables: number
  readonly globals: number
  readonly memories: readonly Limits[]
}

/** The sections of a module that is valid. */
export function sectionsOf(bytes: Uint8Array): Section[] {
  const sections: Section[] = []
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at]!
    const start = skipNumber(bytes, at + 1)
    const end = start + numberAt(bytes, at + 1)
    sections.push({ id, start, end })
    at = end
  }
  return sections
}

/** The type of a function. */
export interface FunctionType {
  /** How many parameters it has */
  readonly parameters: number
  readonly results: number
  /** Whether one of them is a reference to an exception */
  readonly takesException: boolean
}

/** The types of a module, by index. */
export function typesOf(bytes: Uint8Array, section: Section | undefined): FunctionType[] {
  const types: FunctionType[] = []
  eachOf(bytes, section, (start) => {
    if (bytes[start] !== 0x60) throw new Unsupported('types other than those of functions')
    const parameters = numberAt(bytes, start + 1)
    let at = skipNumber(bytes, start + 1)
    let takesException = false
    for (let i = 0; i < parameters; i++) {
      if (isException(bytes, at)) takesException = true
      at = skipType(bytes, at)
    }
    types.push({ parameters, results: numberAt(bytes, at), takesException })
    return skipTypes(bytes, at)
  })
  return types
}

/** The types of the module's own tags: what its exceptions carry. */
export function tagTypesOf(bytes: Uint8Array, section: Section | undefined): number[] {
  const types: number[] = []
  eachOf(bytes, section, (at) => {
    types.push(numberAt(bytes, at + 1))
    return skipNumber(bytes, at + 1)
  })
  return types
}

/** Whether there are globals that hold an exception. */
export function globalsHoldExceptions(bytes: Uint8Array, section: Section | undefined): boolean {
  let hold = false
  eachOf(bytes, section, (at) => {
    if (isException(bytes, at)) hold = true
    return skipExpression(bytes, skipType(bytes, at) + 1)
  })
  return hold
}

export function importsOf(bytes: Uint8Array, section: Section | undefined): Imports {
  const functions: number[] = []
  const memories: Limits[] = []
  let [tables, globals] = [0, 0]
  eachOf(bytes, section, (start) => {
    const at = skipName(bytes, skipName(bytes, start))
    switch (bytes[at]) {
      case ImportKind.function:
        functions.push(numberAt(bytes, at + 1))
        return skipNumber(bytes, at + 1)
      case ImportKind.table:
        tables++
        return limitsAt(bytes, skipType(bytes, at + 1)).end
      case ImportKind.memory: {
        const limits = limitsAt(bytes, at + 1)
        memories.push(limits)
        return limits.end
      }
      case ImportKind.global:
        globals++
        return skipType(bytes, at + 1) + 1
      case ImportKind.tag:
        return skipNumber(bytes, at + 2)
      default:
        throw new Unsupported('an import that is no function, table, memory, global or tag')
    }
  })
  return { functions, tables, globals, memories }
}

/** The types of the module's own functions. */
export function functionTypesOf(bytes: Uint8Array, section: Section | undefined): number[] {
  const types: number[] = []
  eachOf(bytes, section, (at) => {
    types.push(numberAt(bytes, at))
    return skipNumber(bytes, at)
  })
  return types
}

export function memoriesOf(bytes: Uint8Array, section: Section | undefined): Limits[] {
  const memories: Limits[] = []
  eachOf(bytes, section, (at) => {
    const limits = limitsAt(bytes, at)
    memories.push(limits)
    return limits.end
  })
  return memories
}

export function tablesOf(bytes: Uint8Array, section: Section | undefined): Table[] {
  const tables: Table[] = []
  eachOf(bytes, section, (start) => {
    // Such a one begins with two bytes that are no type.
    const hasContent = bytes[start] === 0x40
    const type = hasContent ? start + 2 : start
    if (isException(bytes, type)) throw new Unsupported('tables of exceptions')
    const limits = limitsAt(bytes, skipType(bytes, type))
    tables.push({ ...limits, hasContent })
    return hasContent ? skipExpression(bytes, limits.end) : limits.end
  })
  return tables
}

export interface Export {
  readonly name: string
  readonly isFunction: boolean
  readonly index: number
}

export function exportsOf(bytes: Uint8Array, section: Section | undefined): Export[] {
  const exports: Export[] = []
  eachOf(bytes, section, (at) => {
    const end = skipName(bytes, at)
    exports.push({ name: nameAt(bytes, at), isFunction: bytes[end] === 0, index: numberAt(bytes, end + 1) })
    return skipNumber(bytes, end + 1)
  })
  return exports
}

/** The name of a custom section. */
export function customNameOf(bytes: Uint8Array, { start }: Section): string {
  return nameAt(bytes, start)
}

/** Whether the globals begin with a reference to one of the functions that are imported. */
export function globalsReferTo(bytes: Uint8Array, section: Section | undefined, importedFunctions: number): boolean {
  let refers = false
  eachOf(bytes, section, (start) => {
    const at = skipType(bytes, start) + 1
    if (refersTo(bytes, at, importedFunctions)) refers = true
    return skipExpression(bytes, at)
  })
  return refers
}

/** Whether tables begin as references to one of the functions that are imported. */
export function tablesReferTo(bytes: Uint8Array, section: Section | undefined, importedFunctions: number): boolean {
  return tablesOf(bytes, section).some(({ end, hasContent }) => hasContent && refersTo(bytes, end, importedFunctions))
}

/** Whether the elements of tables have one of the functions that are imported among them. */
export function elementsReferTo(bytes: Uint8Array, section: Section | undefined, importedFunctions: number): boolean {
  let refers = false
  const functions = (at: number) => {
    let end = skipNumber(bytes, at)
    for (let count = numberAt(bytes, at); count > 0; count--) {
      if (numberAt(bytes, end) < importedFunctions) refers = true
      end = skipNumber(bytes, end)
    }
    return end
  }
  const expressions = (at: number) => {
    let end = skipNumber(bytes, at)
    for (let count = numberAt(bytes, at); count > 0; count--) {
      if (refersTo(bytes, end, importedFunctions)) refers = true
      end = skipExpression(bytes, end)
    }
    return end
  }
  eachOf(bytes, section, (start) => {
    // A bit each: no table is filled by itself; a table is named; what follows are expressions.
    const flags = numberAt(bytes, start)
    let at = skipNumber(bytes, start)
    const isActive = (flags & 1) === 0
    if (isActive && (flags & 2) !== 0) at = skipNumber(bytes, at)
    if (isActive) at = skipExpression(bytes, at)
    const hasKind = (flags & 3) !== 0
    if ((flags & 4) === 0) return functions(hasKind ? at + 1 : at)
    return expressions(hasKind ? skipType(bytes, at) : at)
  })
  return refers
}

/** @param each reads one item, and answers where it ends */
function eachOf(bytes: Uint8Array, section: Section | undefined, each: (at: number) => number): void {
  if (section === undefined) return
  let at = skipNumber(bytes, section.start)
  for (let count = numberAt(bytes, section.start); count > 0; count--) at = each(at)
}

/** `exnref`, or `(ref null? exn)`. */
function isException(bytes: Uint8Array, type: number): boolean {
  const first = bytes[type]!
  return (first === 0x63 || first === 0x64 ? bytes[type + 1] : first) === 0x69
}

function limitsAt(bytes: Uint8Array, start: number): Limits {
  const flags = bytes[start]!
  if ((flags & 2) !== 0) throw new Unsupported('memory that is shared between threads')
  if ((flags & 4) !== 0) throw new Unsupported('a memory or a table of 64 bits')
  if (flags > 1) throw new Unsupported('memory with pages of another size')
  const initial = numberAt(bytes, start + 1)
  const at = skipNumber(bytes, start + 1)
  if (flags === 0) return { initial, maximum: undefined, start, end: at }
  return { initial, maximum: numberAt(bytes, at), start, end: skipNumber(bytes, at) }
}

/** Whether a constant expression is a reference to one of the functions that are imported. */
function refersTo(bytes: Uint8Array, expression: number, importedFunctions: number): boolean {
  return bytes[expression] === Op.refFunc && numberAt(bytes, expression + 1) < importedFunctions
}

function skipExpression(bytes: Uint8Array, start: number): number {
  let at = start
  // Nothing in a constant expression has an `end` of its own.
  while (bytes[at] !== Op.end) at = skipImmediates(bytes, bytes[at]!, at + 1)
  return at + 1
}

function skipTypes(bytes: Uint8Array, at: number): number {
  let end = skipNumber(bytes, at)
  for (let count = numberAt(bytes, at); count > 0; count--) end = skipType(bytes, end)
  return end
}

function nameAt(bytes: Uint8Array, at: number): string {
  const start = bytes.byteOffset + skipNumber(bytes, at)
  return Buffer.from(bytes.buffer, start, numberAt(bytes, at)).toString()
}

export function skipName(bytes: Uint8Array, at: number): number {
  return skipNumber(bytes, at) + numberAt(bytes, at)
}
