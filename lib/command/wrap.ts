const DEFAULT_COLUMNS = 80
/** A terminal that is narrower wraps by itself. */
const MIN_COLUMNS = 40
const MAX_COLUMNS = 120

/** The columns that there are for a line. */
export function columns(): number {
  return Math.min(Math.max(process.stdout.columns ?? DEFAULT_COLUMNS, MIN_COLUMNS), MAX_COLUMNS)
}

/**
 * Breaks a text between words, where it is too long for a line.
 *
 * @param indent what each line begins with
 * @param hanging by how many columns more the lines after the first are indented
 */
export function wrap(text: string, indent: string, hanging: number): string {
  const width = Math.max(columns() - indent.length, hanging + 20)
  const lines: string[] = []
  let rest = text
  while (rest.length > width) {
    let at = rest.lastIndexOf(' ', width)
    if (at <= hanging) at = rest.indexOf(' ', width)
    if (at === -1) break
    lines.push(rest.slice(0, at).trimEnd())
    rest = ' '.repeat(hanging) + rest.slice(at + 1).trimStart()
  }
  lines.push(rest)
  return lines.map((line) => indent + line).join('\n')
}
