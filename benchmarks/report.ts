export { progress } from '../lib/command/progress.ts'

/** What was measured of something that has, or has not, a goal. */
export interface Figure {
  readonly figure: string
  readonly goal?: number | undefined
  /** Whether the goal is a lower bound. */
  readonly atLeast?: boolean | undefined
  readonly unit?: string | undefined
  readonly value: number
  readonly quartiles?: readonly [number, number] | undefined
}

export interface Table {
  readonly title: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
}

export function quartiles(numbers: readonly number[]): [number, number] {
  const sorted = [...numbers].sort((a, b) => a - b)
  return [sorted[Math.floor(sorted.length / 4)]!, sorted[Math.floor((sorted.length * 3) / 4)]!]
}

/** The median of the ratios of pairs, and their quartiles. */
export function ratios(first: readonly number[], second: readonly number[]): Pick<Figure, 'value' | 'quartiles'> {
  const all = first.map((value, i) => value / second[i]!)
  return { value: median(all), quartiles: quartiles(all) }
}

export function isMet({ goal, atLeast = false, value }: Figure): boolean | undefined {
  if (goal === undefined) return undefined
  return atLeast ? value >= goal : value <= goal
}

export function tableOf(title: string, figures: readonly Figure[]): Table {
  const rows = figures.map((figure) => {
    const { goal, atLeast, unit = '', value, quartiles } = figure
    const show = (number: number) =>
      `${number >= 100 ? Math.round(number) : Number(number.toPrecision(number < 10 ? 4 : 3))}${unit}`
    const met = isMet(figure)
    return [
      figure.figure,
      goal === undefined ? '' : `${atLeast ? '≥' : '≤'} ${show(goal)}`,
      show(value),
      quartiles === undefined ? '' : quartiles.map(show).join(' – '),
      met === undefined ? '' : met ? 'yes' : 'no'
    ]
  })
  return { title, head: ['figure', 'goal', 'measured', 'quartiles', 'met'], rows }
}

/** Lines with aligned columns. */
export function text({ title, head, rows }: Table): string {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i]!.length)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd()
  return `\n${title}\n\n${[head, ...rows].map(line).join('\n')}\n`
}

export function markdown({ title, head, rows }: Table): string {
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`
  const ruler = head.map((_, i) => (i === 0 ? '---' : '--:'))
  return `## ${title}\n\n${[head, ruler, ...rows].map(line).join('\n')}\n`
}
