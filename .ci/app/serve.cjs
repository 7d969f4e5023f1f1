const assert = require('node:assert/strict')

/** Sends a request through a filter, over a real connection. */
exports.serve = async function serve(Fastify, wasmGateway) {
  const records = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (record) => records.push(JSON.parse(record)) } } })
  await app.register(wasmGateway, { plugins: [{ name: 'wasm_log', file: 'filters/log.wasm' }] })
  app.get('/', { config: { wasm: { plugins: { wasm_log: { conf: 'blahblah' } } } } }, async () => 'hello')
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(url)
  assert.equal(await response.text(), 'hello')
  assert.deepEqual(
    records.map(({ level, plugin, msg }) => ({ level, plugin, msg })),
    [{ level: 40, plugin: 'wasm_log', msg: 'run plugin ctx 1 with conf blahblah in http ctx 2' }]
  )
  await app.close()
}
