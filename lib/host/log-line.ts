import { MAX_LINE } from './limits.ts'

// A line stays what it is on a terminal, and in whatever else shows it. Newlines and tabs are common in what filters show of
// bodies, and a record of pino is one line for all that.
const CONTROL = /[^\P{Cc}\n\t]/u
const CONTROLS = /[^\P{Cc}\n\t]/gu
/** How long one is when it is escaped. */
const ESCAPED = 4

/**
 * What is logged for a line of a filter, which is UTF-8: its beginning when it is long, and control characters escaped.
 *
 * @param size of the whole line, where `bytes` are its beginning
 */
export function lineOf(bytes: Buffer, size: number = bytes.length): string {
  const end = size > MAX_LINE ? endOf(bytes, MAX_LINE) : size
  const text = bytes.toString('utf8', 0, end)
  if (!CONTROL.test(text)) return withRest(text, size - end)
  const line = text.replace(CONTROLS, escaped)
  if (line.length <= MAX_LINE) return withRest(line, size - end)
  const less = endOf(bytes, MAX_LINE / ESCAPED)
  return withRest(bytes.toString('utf8', 0, less).replace(CONTROLS, escaped), size - less)
}

function withRest(line: string, rest: number): string {
  return rest === 0 ? line : `${line}… (${rest} more bytes)`
}

/** Not inside of a character: those behind its first byte begin with 10. */
function endOf(bytes: Buffer, most: number): number {
  let end = Math.min(most, bytes.length)
  while (end > most - 4 && (bytes[end]! & 0xc0) === 0x80) end--
  return end
}

function escaped(control: string): string {
  return `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`
}
