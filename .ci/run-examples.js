// Starts each example, and what `npm start` runs; sends the curl lines of its comments (of `npm start`: those that it prints),
// and checks the answers. Runs the tests of the filters in examples/filters.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkCurl, curlLines, freePort, withServer } from './curl.js'

const hasRedis = () => spawnSync('redis-server', ['--version']).status === 0

const root = join(import.meta.dirname, '..')
const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
const names = await readdir(join(root, 'examples'))
const examples = names
  .filter((name) => name.endsWith('.js') && name !== 'log.js' && name !== 'demo.js')
  .map((name) => ({ name: `examples/${name}`, args: [join('examples', name)] }))
examples.push({ name: 'npm start', args: scripts.start.split(' ').slice(1) })

process.env.ADMIN_PORT = String(await freePort())
for (const [i, { name, args }] of examples.entries()) {
  const port = await freePort()
  const signal = i % 2 === 0 ? 'SIGTERM' : 'SIGINT'
  let count = 0
  if (
    args[0].startsWith('examples') &&
    (await readFile(join(root, args[0]), 'utf8')).includes('redis-server') &&
    !hasRedis()
  ) {
    process.stdout.write(`${name}: skipped, there is no redis-server\n`)
    continue
  }
  await withServer(args, { port, cwd: root, signal }, async (log) => {
    const text = args.length === 1 ? await readFile(join(root, args[0]), 'utf8') : log()
    for (const line of curlLines(text.replaceAll(':3000', `:${port}`))) {
      assert(line.expected.length > 0, `${name} says nothing about ${line.command}`)
      await checkCurl(line, log)
      count++
    }
  })
  assert(count > 0, `${name} shows no curl line`)
  process.stdout.write(`${name}: ${count} curl lines\n`)
}

const filters = join('examples', 'filters')
for (const language of await readdir(join(root, filters))) {
  const [test] = (await readdir(join(root, filters, language))).filter((name) => name.endsWith('.test.js'))
  assert(test !== undefined, `${language} has no test`)
  const path = join(filters, language, test)
  const output = execFileSync(process.execPath, ['--test', path], { cwd: root, encoding: 'utf8' })
  process.stdout.write(`${path}: ${/^(?:#|ℹ) (pass \d+)$/m.exec(output)[1]}\n`)
}
