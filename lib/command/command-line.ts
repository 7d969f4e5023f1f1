import { parseArgs } from 'node:util'

/** An option of a command: for the parser, and for the help. */
export interface Option {
  readonly type: 'boolean' | 'string'
  readonly short?: string
  /** What a text stands for: `<level>` */
  readonly value?: string
  readonly what: string
}

/** The options that were given, by name. */
export type Values = Readonly<Record<string, string | boolean | undefined>>

/** One of the commands. */
export interface Command {
  readonly name: string
  /** What files it takes: `<filter.wasm>` */
  readonly files: string
  readonly summary: string
  /** Paragraphs for its help */
  readonly description: readonly string[]
  readonly options: Readonly<Record<string, Option>>
  /**
   * @returns the exit code
   * @throws UsageError for an option that has a wrong value
   */
  run(files: readonly string[], values: Values): Promise<number>
}

/** The command line makes no sense; the message says why. */
export class UsageError extends Error {}

export const HELP: Option = { type: 'boolean', short: 'h', what: 'shows this' }

/** @throws UsageError for an option that there is not, or that lacks its value */
export function parseCommandLine(command: Command, args: readonly string[]): { files: string[]; values: Values } {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string }> = {}
  for (const [name, { type, short }] of Object.entries({ ...command.options, help: HELP })) {
    options[name] = { type, ...(short !== undefined && { short }) }
  }
  try {
    const { positionals, values } = parseArgs({ args: [...args], options, allowPositionals: true })
    return { files: positionals, values: values as Values }
  } catch (error) {
    // What follows explains how a file may be named like an option.
    const [message = ''] = (error as Error).message.split('. ', 1)
    throw new UsageError(`${command.name}: ${message}`, { cause: error })
  }
}
