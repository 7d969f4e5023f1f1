// What an application that imports the package does.
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import wasmGateway, { FST_WASM_PLUGIN_UNKNOWN, wasmGateway as named } from 'fastify-wasm-gateway'
import { Filter, loadModule, Plugin } from 'fastify-wasm-gateway/host'
import { serve } from './serve.cjs'

assert.equal(named, wasmGateway)
assert.equal(typeof FST_WASM_PLUGIN_UNKNOWN, 'function')
for (const part of [Filter, loadModule, Plugin]) assert.equal(typeof part, 'function')
await serve(Fastify, wasmGateway)
