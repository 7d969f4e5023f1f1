/**
 * A text that may be shown on a terminal: what files, modules and clients say may hold control characters, which a terminal
 * would obey.
 */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
