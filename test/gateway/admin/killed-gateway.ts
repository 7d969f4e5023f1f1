import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import wasmGateway from '../../../lib/index.ts'

// The gateway that the test of kill -9 starts and kills: it is told the file of its store, and tells where it listens.

process.once('message', async ({ file, key }: { file: string; key: string }) => {
  const app = Fastify()
  await app.register(wasmGateway, { admin: { key }, store: { file } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send!({ port: (app.server.address() as AddressInfo).port })
})
process.on('disconnect', () => process.exit())
