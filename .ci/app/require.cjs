// What an application that requires the package does.
const assert = require('node:assert/strict')
const Fastify = require('fastify')
const wasmGateway = require('fastify-wasm-gateway')
const { serve } = require('./serve.cjs')

assert.equal(typeof wasmGateway, 'function')
assert.equal(wasmGateway.default, wasmGateway)
assert.equal(wasmGateway.wasmGateway, wasmGateway)
serve(Fastify, wasmGateway)
