import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../http.ts'
import { open, startProxy, startRecorder, until } from './nodes.ts'

test('pass_host pass, the default, sends the host of the client with its port', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address)
  await request(`${url}/`, { headers: { host: 'shop.example:8443' } })
  assert.equal(node.seen[0]!.headers.host, 'shop.example:8443')
})

test('pass_host node sends the address of the node', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, pass_host: 'node' })
  await request(`${url}/`, { headers: { host: 'shop.example' } })
  assert.equal(node.seen[0]!.headers.host, node.address)
})

test('pass_host rewrite sends upstream_host', async (t) => {
  const node = await startRecorder(t)
  const upstream = { nodes: { [node.address]: 1 }, pass_host: 'rewrite', upstream_host: 'inner.example:81' } as const
  const { url } = await startProxy(t, upstream)
  await request(`${url}/`, { headers: { host: 'shop.example' } })
  assert.equal(node.seen[0]!.headers.host, 'inner.example:81')
})

test('a client of HTTP/1.0 that says no host has the address of the node sent', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  const socket = open(t, port, 'GET / HTTP/1.0\r\n\r\n')
  await until(() => socket.received().endsWith(node.address), 'the answer is there')
  assert.equal(node.seen[0]!.headers.host, node.address)
})
