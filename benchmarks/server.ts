// A process under measurement: listens with the applications that its arguments name, each on a port of its own.
import type { AddressInfo } from 'node:net'
import { APPS, type AppName } from './apps.ts'

const [upstream, ...names] = process.argv.slice(2)
const ports: Record<string, number> = {}
for (const name of names as AppName[]) {
  const app = await APPS[name](Number(upstream))
  await app.listen({ port: 0, host: '127.0.0.1' })
  ports[name] = (app.server.address() as AddressInfo).port
  if ('wasmGateway' in app) {
    process.on('message', () => {
      const alive = app.wasmGateway.status().plugins.reduce((sum, { http_contexts }) => sum + http_contexts, 0)
      globalThis.gc?.()
      globalThis.gc?.()
      process.send!({ alive, ...process.memoryUsage(), cpu: process.cpuUsage() })
    })
  }
}
process.send!(ports)
process.on('disconnect', () => process.exit())
