import { numberAt, skipNumber } from './instructions.ts'

/** Longer than any that a compiler makes. */
const MAX_NAME = 4096
/** Subsections of a `name` section (WebAssembly core specification, appendix, "Name Section"). */
const [MODULE, FUNCTIONS] = [0, 1]

/**
 * Whether the names in a `name` section are not too long, and can be read at all. V8 writes the names of the module and of
 * its functions into each trace of a stack, for each frame once: a few of megabytes are more than a text may be long.
 *
 * @param start behind the section's own name
 */
export function hasShortNames(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const first = skipNumber(bytes, at + 1)
    const next = first + numberAt(bytes, at + 1)
    if (next > end) return false
    if (bytes[at] === MODULE && numberAt(bytes, first) > MAX_NAME) return false
    if (bytes[at] === FUNCTIONS && !areShort(bytes, first, next)) return false
    at = next
  }
  return true
}

/** @param start a list of the indices of functions, each with a name */
function areShort(bytes: Uint8Array, start: number, end: number): boolean {
  let at = skipNumber(bytes, start)
  while (at < end) {
    at = skipNumber(bytes, at)
    const length = numberAt(bytes, at)
    if (length > MAX_NAME) return false
    at = skipNumber(bytes, at) + length
  }
  return true
}
