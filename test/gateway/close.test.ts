import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../eventually.ts'

test('a server that closes with everything under way ends its contexts in order, and nothing keeps its process', async (t) => {
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'closing-server.ts')], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  t.after(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
  })
  await eventually('it listens', () => /port (\d+)\n/.test(printed))
  const port = Number(/port (\d+)\n/.exec(printed)![1])
  const received = new Map<string, string>()
  for (const path of ['/paused', '/calls', '/slow', '/stream', '/plain']) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => received.set(path, (received.get(path) ?? '') + chunk.toString()))
    socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
  }
  await eventually('they are under way', () => printed.split('request').length === 6 && received.has('/stream'))
  const exit = once(child, 'exit')
  child.stdin.write('close\n')
  const [code] = (await exit) as [number]
  assert.equal(code, 0, printed)
  const lines = printed.trim().split('\n')
  // Streams before the plugin contexts that they are in.
  assert.equal(lines.filter((line) => line === 'stream is over').length, 5)
  assert(lines.lastIndexOf('stream is over') < lines.indexOf('plugin is done'), printed)
  assert.deepEqual(JSON.parse(lines.at(-1)!), { plugin_contexts: 0, http_contexts: 0, calls: 0 })
  assert.match(received.get('/plain')!, /^HTTP\/1\.1 200 [\s\S]*hello$/)
  assert.match(received.get('/slow')!, /^HTTP\/1\.1 200 [\s\S]*slow$/)
  for (const path of ['/paused', '/calls']) assert.match(received.get(path)!, /^HTTP\/1\.1 503 /)
})
