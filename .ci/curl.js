// Reads curl lines and what is said about their answers, sends them, and checks. A curl line is followed by
//   → 200 text       the status, and what the body contains
//   → header a: b    a header of the response
//   → log text       what a line of the log contains
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The curl lines of a text, each with its expectations; comment signs in front of them are left out. */
export function curlLines(text) {
  const lines = []
  for (const line of text.split('\n').map((line) => line.replace(/^\s*(?:\/\/|#) ?/, ''))) {
    if (/^curl .*https?:/.test(line)) lines.push({ command: line, expected: [] })
    else if (line.startsWith('→ ')) lines.at(-1)?.expected.push(line.slice(2))
  }
  return lines
}

/**
 * Sends a curl line, and checks the answer.
 *
 * @param log answers what the server has logged
 */
export async function checkCurl({ command, expected }, log) {
  const before = log().length
  const { stdout } = await run('bash', ['-c', `${command} -s -S -i --max-time 10`])
  const [head] = stdout.split('\r\n\r\n', 1)
  const body = stdout.slice(head.length + 4)
  for (const text of expected) {
    const [kind] = text.split(' ', 1)
    const rest = text.slice(kind.length + 1)
    if (kind === 'header') {
      assert(head.toLowerCase().split('\r\n').includes(rest.toLowerCase()), `${command}: no header ${rest} in\n${head}`)
    } else if (kind === 'log') {
      for (let i = 0; i < 50 && !log().slice(before).includes(rest); i++) await sleep(20)
      assert(log().slice(before).includes(rest), `${command}: not logged: ${rest}\n${log().slice(before)}`)
    } else {
      assert.equal(head.split(' ', 2)[1], kind, `${command}: another status\n${stdout}`)
      assert(body.includes(rest), `${command}: no "${rest}" in\n${stdout}`)
    }
  }
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/**
 * Starts a program that listens on PORT, waits until it does, and calls back; then stops it.
 *
 * @param use is handed a function that answers what the program has written
 */
export async function withServer(args, { port, cwd, signal = 'SIGTERM' }, use) {
  const env = { ...process.env, PORT: String(port), HOST: '127.0.0.1' }
  const child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exit = new Promise((resolve) => child.once('exit', (code, by) => resolve(by ?? code)))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text) => {
      output += text
    })
  }
  const listening = `Server listening at http://127.0.0.1:${port}`
  let stopped
  try {
    for (let i = 0; i < 500 && child.exitCode === null && !output.includes(listening); i++) await sleep(20)
    assert(output.includes(listening), `${args.join(' ')} does not listen:\n${output}`)
    await use(() => output)
  } finally {
    child.kill(signal)
    stopped = await Promise.race([exit, sleep(5000, 'nothing', { ref: false })])
    child.kill('SIGKILL')
  }
  assert(stopped === 0 || stopped === signal, `${args.join(' ')} ended with ${stopped} on ${signal}:\n${output}`)
}
