import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { command } from './command.ts'

test('--version prints the version of the package', async () => {
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'))
  assert.deepEqual(await command(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('--help shows the commands, and a command with it its options', async () => {
  const { code, stdout, stderr } = await command(['--help'])
  assert.deepEqual([code, stderr], [0, ''])
  for (const name of ['run', 'check', 'inspect', '--version']) assert.ok(stdout.includes(name), stdout)
  const expected = { run: '--drain-timeout <seconds>', check: '--json', inspect: '--json' }
  await Promise.all(
    Object.entries(expected).map(async ([name, option]) => {
      const { code, stdout } = await command([name, '-h'])
      assert.equal(code, 0)
      assert.ok(stdout.startsWith(`Usage:\n  fastify-wasm-gateway ${name} `), stdout)
      assert.ok(stdout.includes(option), stdout)
      for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line)
    })
  )
})

test('a command line that makes no sense is answered with how it should be, and code 2', async () => {
  const cases: [string[], RegExp][] = [
    [[], /which command\?/],
    [['rum', 'a.yaml'], /there is no command "rum"/],
    [['run'], /which file\? <config\.yaml> is missing/],
    [['inspect', '--jsn', 'a.wasm'], /Unknown option '--jsn'/],
    [['run', 'a.yaml', '--log-level'], /--log-level/],
    [['run', 'a.yaml', '--log-level', 'loud'], /--log-level is one of trace, debug/],
    [['run', 'a.yaml', '--drain-timeout', 'soon'], /--drain-timeout is a number of seconds/]
  ]
  await Promise.all(
    cases.map(async ([args, expected]) => {
      const { code, stdout, stderr } = await command(args)
      assert.deepEqual([code, stdout], [2, ''])
      assert.match(stderr, expected)
      assert.match(stderr, /\n\nUsage:\n {2}fastify-wasm-gateway /)
      assert.doesNotMatch(stderr, /^ {4}at /m)
    })
  )
})
