import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../../lib/index.ts'

// A gateway that tests start and kill: it is told its options, and tells where it listens.

process.once('message', async ({ options }: { options: WasmGatewayOptions }) => {
  // Of a machine that is busy with other tests.
  const app = Fastify({ pluginTimeout: 60_000 })
  await app.register(wasmGateway, options)
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send!({ port: (app.server.address() as AddressInfo).port })
})
process.on('disconnect', () => process.exit())
