// Starts each example, sends the curl lines of its comments (the demo's: those that it prints), and checks the answers.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkCurl, curlLines, freePort, withServer } from './curl.js'

const root = join(import.meta.dirname, '..')
const examples = (await readdir(join(root, 'examples'))).filter((name) => name.endsWith('.js') && name !== 'log.js')

for (const [i, name] of examples.entries()) {
  const source = await readFile(join(root, 'examples', name), 'utf8')
  const port = await freePort()
  const signal = i % 2 === 0 ? 'SIGTERM' : 'SIGINT'
  let count = 0
  await withServer([join('examples', name)], { port, cwd: root, signal }, async (log) => {
    // The demo prints its lines when it listens already.
    for (let i = 0; i < 100 && name === 'demo.js' && !log().includes('/status\n→'); i++) await sleep(20)
    const lines = curlLines(name === 'demo.js' ? log() : source.replaceAll(':3000', `:${port}`))
    for (const line of lines) {
      assert(line.expected.length > 0, `${name} says nothing about ${line.command}`)
      await checkCurl(line, log)
      count++
    }
  })
  assert(count > 0, `${name} shows no curl line`)
  process.stdout.write(`examples/${name}: ${count} curl lines\n`)
}
