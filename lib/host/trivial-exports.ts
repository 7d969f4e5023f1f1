import { numberAt, Op, skipNumber } from './metering/instructions.ts'
import { exportsOf, importsOf, SectionId, sectionsOf } from './metering/module-reader.ts'

/**
 * The exported functions of a module that do nothing but return, and what: a call of one could be left out.
 *
 * @param bytes a module that is valid
 * @returns by name, the constant that it returns; 0 when it returns nothing
 */
export function trivialExports(bytes: Uint8Array): ReadonlyMap<string, number> {
  const sections = sectionsOf(bytes)
  const find = (wanted: number) => sections.find(({ id }) => id === wanted)
  const imported = importsOf(bytes, find(SectionId.import)).functions.length
  const trivial = constantsOf(bytes, find(SectionId.code)?.start)
  const found = new Map<string, number>()
  for (const { name, isFunction, index } of exportsOf(bytes, find(SectionId.export))) {
    const constant = isFunction ? trivial.get(index - imported) : undefined
    if (constant !== undefined) found.set(name, constant)
  }
  return found
}

/** By index in the code section, what those functions return that are a constant, or nothing at all. */
function constantsOf(bytes: Uint8Array, start: number | undefined): Map<number, number> {
  const constants = new Map<number, number>()
  if (start === undefined) return constants
  let at = skipNumber(bytes, start)
  for (let i = 0, count = numberAt(bytes, start); i < count; i++) {
    const body = skipNumber(bytes, at)
    at = body + numberAt(bytes, at)
    const constant = constantOf(bytes, body)
    if (constant !== undefined) constants.set(i, constant)
  }
  return constants
}

/** A function without locals that is `end`, or `i32.const … end` with a number of one byte. */
function constantOf(bytes: Uint8Array, body: number): number | undefined {
  if (bytes[body] !== 0) return undefined
  if (bytes[body + 1] === Op.end) return 0
  const number = bytes[body + 2]!
  if (bytes[body + 1] !== Op.i32Const || number >= 0x40 || bytes[body + 3] !== Op.end) return undefined
  return number
}
