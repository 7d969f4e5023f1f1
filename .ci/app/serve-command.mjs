// What somebody does who runs the gateway without an application of their own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'

const gateway = spawn('node_modules/.bin/fastify-wasm-gateway', ['run', 'gateway.yaml'], {
  stdio: ['ignore', 'pipe', 'inherit']
})
const ended = once(gateway, 'exit')
let log = ''
let url
for await (const text of gateway.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
  log += text
  url = /Server listening at (http:[^"]+)"/.exec(log)?.[1]
  if (url !== undefined) break
}
const response = await fetch(`${url}/hello`)
assert.equal(await response.text(), 'hello')
gateway.stdout.resume()
gateway.kill('SIGTERM')
assert.deepEqual(await ended, [0, null])
