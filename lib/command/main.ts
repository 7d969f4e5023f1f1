import { readFileSync } from 'node:fs'
import { type Command, parseCommandLine, UsageError } from './command-line.ts'
import { COMMANDS } from './commands.ts'
import { helpOf, overview, usageOf } from './help.ts'

/**
 * Runs the command line.
 *
 * @param args what follows the name of the program
 * @returns the exit code: 0 when all is well, 1 when something is wrong, 2 when the command line is none
 */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  let command: Command | undefined
  try {
    if (name === '--help' || name === '-h') return print(overview(COMMANDS))
    if (name === '--version') return print(`${version()}\n`)
    command = COMMANDS.find((command) => command.name === name)
    if (command === undefined) {
      throw new UsageError(name === undefined ? 'which command?' : `there is no command "${name}"`)
    }
    const { files, values } = parseCommandLine(command, rest)
    if (values['help']) return print(helpOf(command))
    if (files.length === 0) throw new UsageError(`which file? ${command.files} is missing`)
    return await command.run(files, values)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const usage = usageOf(command === undefined ? COMMANDS : [command])
    process.stderr.write(`fastify-wasm-gateway: ${error.message}\n\n${usage}`)
    return 2
  }
}

function print(text: string): number {
  process.stdout.write(text)
  return 0
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
}
