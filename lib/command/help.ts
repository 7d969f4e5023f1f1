import { type Command, HELP, type Option } from './command-line.ts'
import { wrap } from './wrap.ts'

const PROGRAM = 'fastify-wasm-gateway'

/** The lines that show how commands are called. */
export function usageOf(commands: readonly Command[]): string {
  const lines = commands.map(({ name, files, options }) => {
    const known = Object.entries(options).map(
      ([name, { value }]) => `[--${name}${value === undefined ? '' : ` ${value}`}]`
    )
    return wrap([PROGRAM, name, files, '[<more>…]', ...known].join(' '), '  ', 4)
  })
  return `Usage:\n${lines.join('\n')}\n\nMore: ${PROGRAM} ${commands.length === 1 ? `${commands[0]!.name} ` : ''}--help\n`
}

/** The help of the program. */
export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length))
  const summaries = commands.map(({ name, summary }) => wrap(`${name.padEnd(width)}  ${summary}`, '  ', width + 2))
  return `Runs Proxy-Wasm filters in front of upstreams, from a configuration file.

Usage:
  ${PROGRAM} <command> <file> [<more>…]

Commands:
${summaries.join('\n')}

Options:
${optionsOf({ help: { ...HELP, what: 'shows this; after a command: the help of the command' }, version: { type: 'boolean', what: 'shows the version' } })}
`
}

/** The help of a command. */
export function helpOf(command: Command): string {
  const { name, files, description, options } = command
  return `Usage:
  ${PROGRAM} ${name} ${files} [<more>…] [<options>]

${description.map((paragraph) => wrap(paragraph, '', 0)).join('\n\n')}

Options:
${optionsOf({ ...options, help: HELP })}
`
}

function optionsOf(options: Readonly<Record<string, Option>>): string {
  const entries = Object.entries(options).map(([name, { short, value, what }]) => {
    const flag = `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`
    return [flag, what] as const
  })
  const width = Math.max(...entries.map(([flag]) => flag.length))
  return entries.map(([flag, what]) => wrap(`${flag.padEnd(width)}  ${what}`, '  ', width + 2)).join('\n')
}
