// What an application that imports the package does.
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import wasmGateway, { definePlugin, FST_WASM_PLUGIN_UNKNOWN, wasmGateway as named } from 'fastify-wasm-gateway'
import { Filter, loadModule, Plugin } from 'fastify-wasm-gateway/host'
import { loadChain, loadFilter } from 'fastify-wasm-gateway/testing'
import { serve } from './serve.cjs'

assert.equal(named, wasmGateway)
assert.equal(typeof FST_WASM_PLUGIN_UNKNOWN, 'function')
for (const part of [Filter, loadModule, Plugin, loadChain, definePlugin]) assert.equal(typeof part, 'function')
const filter = await loadFilter('filters/log.wasm', { conf: 'blahblah' })
const { logs } = await filter.exchange()
assert.equal(logs[0].message, 'run plugin ctx 1 with conf blahblah in http ctx 2')
await filter.close()
await serve(Fastify, wasmGateway)
