import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { get } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { scripted } from './script.ts'

const folder = join(import.meta.dirname, 'upstream', 'certificate')
const key = readFileSync(join(folder, 'key.pem'))
const cert = readFileSync(join(folder, 'cert.pem'))

const ask = (...names: string[]) => names.map((name) => ({ op: 'property', path: name.split('.') }))

test('the attributes of a TLS connection with a client certificate', async (t) => {
  const conf = {
    request_headers: ask(
      'connection.requested_server_name',
      'connection.tls_version',
      'connection.subject_local_certificate',
      'connection.subject_peer_certificate',
      'connection.dns_san_peer_certificate',
      'connection.sha256_peer_certificate_digest',
      'connection.uri_san_peer_certificate',
      'request.scheme'
    )
  }
  const https = { key, cert, ca: cert, requestCert: true }
  const { port, filterLog } = await startApp(
    t,
    { plugins: scripted('a') },
    (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
    },
    { https } as object
  )
  await new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', servername: 'localhost', ca: cert, key, cert, agent: false } as const
    get(options, (incoming) => incoming.resume().on('end', resolve)).on('error', reject)
  })
  const values = Object.fromEntries(
    filterLog().map((line) => line.replace('property ', '').split('=') as [string, string])
  )
  assert.equal(values['connection.requested_server_name'], 'localhost')
  assert.match(values['connection.tls_version']!, /^TLSv1\.[23]$/)
  assert.equal(values['connection.subject_local_certificate'], 'CN')
  assert.equal(values['connection.dns_san_peer_certificate'], 'localhost')
  assert.match(values['connection.sha256_peer_certificate_digest']!, /^[0-9a-f]{64}$/)
  assert.ok('connection.uri_san_peer_certificate missing' in values)
  assert.equal(values['request.scheme'], 'https')
  assert.match(filterLog().find((line) => line.includes('subject_peer'))!, /CN=localhost/)
})

test('without TLS its attributes are missing', async (t) => {
  const conf = { request_headers: ask('connection.subject_peer_certificate', 'connection.tls_version') }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  await request(url)
  assert.deepEqual(filterLog(), [
    'property connection.subject_peer_certificate missing',
    'property connection.tls_version missing'
  ])
})

test('the attributes of the upstream, the route and the node', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => 'hello')
  })
  const conf = {
    request_headers: ask('upstream.address', 'cluster_name', 'xds.route_name'),
    response_headers: ask('upstream.address', 'response.size'),
    log: ask('node.cluster')
  }
  const upstreams = [{ id: 'backend', nodes: { [upstream.node]: 1 } }]
  const { url, filterLog, quiet } = await startApp(t, { plugins: scripted('a'), upstreams }, (app) => {
    app.get('/', {
      config: { wasm: { plugins: { a: { conf } }, upstream_id: 'backend' } },
      handler: app.wasmGateway.proxy
    })
  })
  await request(url)
  await quiet()
  const lines = filterLog()
  assert.deepEqual(lines.slice(0, 4), [
    'property upstream.address missing',
    'property cluster_name=backend',
    'property xds.route_name=/',
    `property upstream.address=${upstream.node}`
  ])
  assert.equal(lines[4], `property response.size=\\x05${'\\x00'.repeat(7)}`)
  assert.equal(lines[5], 'property node.cluster=fastify-wasm-gateway')
})
