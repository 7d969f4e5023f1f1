// Runs the shell lines of a document, one after the other:
//   export NAME=value                  is there for what follows
//   node -e '…' &                      goes on until the end of the document
//   npx fastify-wasm-gateway run …     serves until the next one, or the end of the document
//   npx fastify-wasm-gateway …         must end well; `# → text` lines below it are in what it prints
//   curl …                             as in curl.js
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkCurl, withServer } from './curl.js'

const COMMAND = 'npx fastify-wasm-gateway '
const RUN = `${COMMAND}run `
const BIN = 'node_modules/.bin/fastify-wasm-gateway'

/** Whether a block is run: by its first line. */
export function isRun(code) {
  const [first = ''] = code.split('\n').filter((line) => !line.startsWith('#'))
  return first.startsWith(COMMAND) || /^(?:export |node -e |curl .*127\.0\.0\.1)/.test(first)
}

export class Shell {
  #cwd
  #portFor
  #server
  #background = []

  /** @param portFor answers the port that stands in place of one that the documents name */
  constructor(cwd, portFor) {
    this.#cwd = cwd
    this.#portFor = portFor
  }

  async run(code) {
    for (const { command, expected } of commandsOf(code)) {
      if (command.startsWith('export ')) this.#export(command)
      else if (command.startsWith('node -e ')) this.#start(command)
      else if (command.startsWith(RUN)) await this.#serve(command.slice(RUN.length).split(/\s+/))
      else if (command.startsWith(COMMAND)) this.#execute(command.slice(COMMAND.length), expected)
      else if (command.startsWith('curl ')) await checkCurl({ command, expected }, this.#server.log)
      else assert.fail(`a command that is not known here: ${command}`)
    }
  }

  async close() {
    await this.#server?.stop()
    for (const child of this.#background) process.kill(-child.pid)
    this.#background = []
  }

  #export(command) {
    const [, name] = /^export (\w+)=/.exec(command)
    process.env[name] = execFileSync('bash', ['-c', `${command}\nprintf %s "$${name}"`], { encoding: 'utf8' })
  }

  #start(command) {
    assert(command.endsWith(' &'), `it would not end: ${command}`)
    const args = ['-c', command.slice(0, -2)]
    this.#background.push(spawn('bash', args, { cwd: this.#cwd, stdio: 'ignore', detached: true }))
  }

  #execute(args, expected) {
    const output = execFileSync('bash', ['-c', `${BIN} ${args}`], { cwd: this.#cwd, encoding: 'utf8', stdio: 'pipe' })
    for (const text of expected) assert(output.includes(text), `no "${text}" in\n${output}`)
  }

  /** Starts the command; it listens where this says, in place of the port that it has by default. */
  async #serve(args) {
    await this.#server?.stop()
    this.#server = undefined
    const port = this.#portFor('9080')
    // The first file that says where to listen counts.
    writeFileSync(join(this.#cwd, 'listen.json'), JSON.stringify({ listen: { port: Number(port) } }))
    const given = args.filter((arg) => arg !== '&')
    this.#server = await new Promise((resolve, reject) => {
      const served = withServer([BIN, 'run', 'listen.json', ...given], { port, cwd: this.#cwd }, (log) => {
        return new Promise((end) => {
          const stop = () => {
            end()
            return served
          }
          resolve({ log, stop })
        })
      })
      served.catch(reject)
    })
  }
}

/** Commands, each with the `# → …` lines below it. One goes on where a quote is open, or after a backslash. */
function commandsOf(code) {
  const commands = []
  let open = ''
  for (const line of code.split('\n')) {
    if (open === '' && line.startsWith('# → ')) commands.at(-1).expected.push(line.slice(4))
    if (open === '' && (line === '' || line.startsWith('#'))) continue
    open += open === '' ? line : `\n${line}`
    if (open.endsWith('\\') || open.split("'").length % 2 === 0) continue
    commands.push({ command: open, expected: [] })
    open = ''
  }
  assert.equal(open, '', `a quote is not closed: ${open}`)
  return commands
}
