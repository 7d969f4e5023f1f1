// Two gateways and one Redis: a filter that lets three requests an hour pass counts those of both. The gateways share a port,
// and take turns; each could as well be on a machine of its own. Needs redis-server (Debian: apt-get install redis-server).
//
// curl http://127.0.0.1:3000/
// → 200 hello from gateway
//
// curl http://127.0.0.1:3000/
// → 200 hello from gateway
//
// curl http://127.0.0.1:3000/
// → 200 hello from gateway
//
// curl http://127.0.0.1:3000/
// → 429 too many requests
import { spawn } from 'node:child_process'
import cluster from 'node:cluster'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

if (cluster.isPrimary) {
  const folder = mkdtempSync(join(tmpdir(), 'redis-'))
  // Of a socket in the folder alone: no port of the machine is taken.
  const socket = join(folder, 'redis.sock')
  const options = ['--port', '0', '--unixsocket', socket, '--dir', folder, '--save', '']
  const redis = spawn('redis-server', options, { stdio: 'ignore' })
  redis.on('error', (error) => {
    process.stderr.write(`redis-server does not start: ${error.message}\n`)
    process.exit(1)
  })
  for (const name of ['one', 'two']) cluster.fork({ GATEWAY: name, REDIS: socket })
  const end = (signal) => {
    process.removeAllListeners(signal)
    for (const worker of Object.values(cluster.workers)) worker.process.kill()
    redis.once('exit', () => {
      rmSync(folder, { recursive: true, force: true })
      process.exit()
    })
    redis.kill()
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, end)
} else {
  const app = Fastify({ logger })
  await app.register(wasmGateway, {
    redis: { path: process.env.REDIS },
    plugins: [{ name: 'rate_limit', file: 'fixtures/shared-rate-limit/shared-rate-limit.wasm' }]
  })
  const conf = { limit: 3, window_seconds: 3600 }
  app.get('/', { config: { wasm: { plugins: { rate_limit: { conf } } } } }, async () => {
    return `hello from gateway ${process.env.GATEWAY}\n`
  })
  await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
}
