import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import type { Upstream } from '../../../lib/index.ts'
import { request } from '../../http.ts'
import { certificate } from './certificate.ts'
import { type Node, REFUSED, startNode, startProxy } from './nodes.ts'

const CERTIFICATE = join(import.meta.dirname, 'certificate', 'cert.pem')

/** Answers the name that the client indicated in TLS, and the host that it sent. */
function startTlsNode(t: TestContext, host?: string): Promise<Node> {
  const server = createServer({ ...certificate, keepAliveTimeout: 30_000 })
  return startNode(
    t,
    (incoming, response) => {
      const { servername } = incoming.socket as TLSSocket & { servername: string | false }
      response.end(`${servername || '-'} ${incoming.headers.host}`)
    },
    server as never,
    host
  )
}

test('a certificate that nobody has signed for is not accepted: 502', async (t) => {
  const node = await startTlsNode(t)
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, scheme: 'https' })
  const answer = await request(url, { headers: { host: 'localhost' } })
  assert.equal(answer.status, 502)
  assert.match(JSON.parse(answer.text).error_msg, /^the upstream failed: DEPTH_ZERO_SELF_SIGNED_CERT$/)
})

test('tls.verify: false accepts any certificate', async (t) => {
  const node = await startTlsNode(t)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https', tls: { verify: false } } as const
  const { url } = await startProxy(t, upstream)
  const answer = await request(url, { headers: { host: 'any.example' } })
  assert.equal(`${answer.status} ${answer.text}`, '200 - any.example')
})

test('two upstreams on one node do not share what they trust', async (t) => {
  const node = await startTlsNode(t)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https' } as const
  const { url } = await startProxy(
    t,
    { ...upstream, tls: { verify: false } },
    {
      declare: (app) => {
        app.get('/verified', { config: { wasm: { upstream } } }, app.wasmGateway.proxy)
      }
    }
  )
  assert.equal((await request(`${url}/`)).status, 200)
  assert.equal((await request(`${url}/verified`)).status, 502)
  assert.equal((await request(`${url}/`)).status, 200)
})

test('clients that say changing hosts share one connection to the node', async (t) => {
  const node = await startTlsNode(t)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https', tls: { verify: false } } as const
  const { url } = await startProxy(t, upstream)
  for (let i = 0; i < 5; i++) {
    assert.equal((await request(url, { headers: { host: `h${i}.example` } })).text, `- h${i}.example`)
  }
  assert.equal(node.accepted(), 1)
})

test('http spoken to a node of https, and https to one of http: 502', async (t) => {
  const secure = await startTlsNode(t)
  const plain = await startNode(t, (_incoming, response) => response.end())
  const wrong = await startProxy(t, secure.address)
  assert.notEqual((await request(wrong.url)).status, 200)
  const upstream = { nodes: { [plain.address]: 1 }, scheme: 'https', tls: { verify: false } } as const
  const other = await startProxy(t, upstream)
  assert.equal((await request(other.url)).status, 502)
})

test('a POST goes to another node when the certificate of one is not accepted', async (t) => {
  const [untrusted, plain] = [await startTlsNode(t), await startTlsNode(t)]
  const upstream = { nodes: { [untrusted.address]: 1, [plain.address]: 1, [REFUSED]: 1 }, scheme: 'https' } as const
  const { url } = await startProxy(t, upstream)
  const answer = await request(url, { method: 'POST', body: 'body' })
  assert.equal(answer.status, 502)
  assert.equal(untrusted.accepted() + plain.accepted(), 2)
})

test('whom a certificate must be for is said by the node, or by upstream_host, and never by the client', async (t) => {
  if (process.platform !== 'linux') return t.skip('only Linux has more loopback addresses than 127.0.0.1')
  const node = await startTlsNode(t, '0.0.0.0')
  const named = (host: string, more: object = {}) => ({
    nodes: { [`${host}:${node.port}`]: 1 },
    scheme: 'https',
    ...more
  })
  const upstreams = [
    named('localhost'),
    named('127.0.0.1'),
    named('127.0.0.2'),
    named('127.0.0.2', { pass_host: 'rewrite', upstream_host: `localhost:${node.port}` }),
    named('127.0.0.1', { pass_host: 'rewrite', upstream_host: 'other.example' }),
    named('localhost', { pass_host: 'node' })
  ] as Upstream[]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'verified-requests.ts'), JSON.stringify(upstreams)],
    { env: { ...process.env, NODE_EXTRA_CA_CERTS: CERTIFICATE } }
  )
  const refused = '502 {"error_msg":"the upstream failed: ERR_TLS_CERT_ALTNAME_INVALID"}'
  assert.deepEqual(JSON.parse(stdout), [
    ['200 localhost localhost', '200 localhost evil.example', '200 localhost 127.0.0.1'],
    ['200 - localhost', '200 - evil.example', '200 - 127.0.0.1'],
    [refused, refused, refused],
    Array(3).fill(`200 localhost localhost:${node.port}`),
    [refused, refused, refused],
    Array(3).fill(`200 localhost localhost:${node.port}`)
  ])
})

test('a node is shown the client certificate of its upstream, and of no other', async (t) => {
  const server = createServer({ ...certificate, requestCert: true, ca: certificate.cert })
  const node = await startNode(
    t,
    (incoming, response) => response.end(String((incoming.socket as TLSSocket).authorized)),
    server as never
  )
  const tls = { verify: false, client_cert: certificate.cert, client_key: certificate.key }
  const nodes = { [node.address]: 1 }
  const shown = await startProxy(t, { nodes, scheme: 'https', tls })
  const other = await startProxy(t, { nodes, scheme: 'https', tls: { verify: false } })
  assert.equal((await request(shown.url)).text, 'true')
  assert.equal((await request(other.url)).status, 502)
})
