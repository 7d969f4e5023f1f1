// What an application that requires the package does.
const assert = require('node:assert/strict')
const Fastify = require('fastify')
const wasmGateway = require('fastify-wasm-gateway')
const { serve } = require('./serve.cjs')

assert.equal(typeof wasmGateway, 'function')
assert.equal(wasmGateway.default, wasmGateway)
assert.equal(wasmGateway.wasmGateway, wasmGateway)
assert.equal(wasmGateway.FST_WASM_TRAP('a', 'b', 'c').code, 'FST_WASM_TRAP')
assert.equal(
  wasmGateway.definePlugin({ name: 'a', file: 'a.wasm', conf: { type: 'object' } }).conf_schema.type,
  'object'
)
require('fastify-wasm-gateway/testing')
  .loadFilter('filters/log.wasm', { conf: 'blahblah' })
  .then((filter) => filter.close())
serve(Fastify, wasmGateway)
