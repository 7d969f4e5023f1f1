import { MAX_LINE } from './limits.ts'

// A line stays what it is on a terminal, and in whatever else shows it. Newlines and tabs are common in what filters show of
// bodies, and a record of pino is one line for all that.
const CONTROL = /[^\P{Cc}\n\t]/u
const CONTROLS = /[^\P{Cc}\n\t]/gu

/**
 * What is logged for a line of a filter, which is UTF-8: its beginning when it is long, and control characters escaped.
 *
 * @param size of the whole line, where `bytes` are its beginning
 */
export function lineOf(bytes: Buffer, size: number = bytes.length): string {
  const end = size > MAX_LINE ? endOf(bytes) : size
  const text = bytes.toString('utf8', 0, end)
  const line = CONTROL.test(text) ? text.replace(CONTROLS, escaped) : text
  return end === size ? line : `${line}… (${size - end} more bytes)`
}

/** Not inside of a character: those behind its first byte begin with 10. */
function endOf(bytes: Buffer): number {
  let end = Math.min(MAX_LINE, bytes.length)
  while (end > MAX_LINE - 4 && (bytes[end]! & 0xc0) === 0x80) end--
  return end
}

function escaped(control: string): string {
  return `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`
}
