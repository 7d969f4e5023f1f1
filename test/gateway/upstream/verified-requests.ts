// Run by tls.test.ts as a process of its own: whose certificates Node trusts is decided when it starts
// (NODE_EXTRA_CA_CERTS). Prints, for each upstream given as JSON, the status and the body of three requests whose
// clients say different hosts.
import Fastify from 'fastify'
import wasmGateway, { type Upstream } from '../../../lib/index.ts'
import { request } from '../../http.ts'

const results: string[][] = []
for (const upstream of JSON.parse(process.argv[2]!) as Upstream[]) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(wasmGateway, {})
  app.get('/', { config: { wasm: { upstream } } }, app.wasmGateway.proxy)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const answers: string[] = []
  for (const host of ['localhost', 'evil.example', '127.0.0.1']) {
    const { status, text } = await request(url, { headers: { host } })
    answers.push(`${status} ${text}`)
  }
  results.push(answers)
  await app.close()
}
process.stdout.write(JSON.stringify(results))
