import assert from 'node:assert/strict'
import { createServer as createSecureServer } from 'node:https'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Upstream as UpstreamConfig } from '../../../lib/index.ts'
import { startApp, type TestApp } from '../../app.ts'
import { request } from '../../http.ts'
import { certificate } from './certificate.ts'
import { type Node, REFUSED, startNode, startProxy, startRawNode, until } from './nodes.ts'

type Checks = NonNullable<UpstreamConfig['checks']>

/** Asks once, at the start: what becomes of the clients' requests is all that is found out then. */
const SELDOM: Checks['active'] = { type: 'tcp', healthy: { interval: 1000 }, unhealthy: { interval: 1000 } }
const OFTEN = {
  healthy: { interval: 0.1, successes: 2 },
  unhealthy: { interval: 0.1, http_failures: 2, tcp_failures: 2 }
}

interface Ailing extends Node {
  /** What it answers; 0: nothing at all. */
  status: number
  /** The paths that it was asked for, probes among them. */
  paths: string[]
}

async function startAiling(t: TestContext, status: number = 200): Promise<Ailing> {
  const ailing: Ailing = { ...(await startNode(t, answer)), status, paths: [] }
  function answer(...[incoming, response]: Parameters<Parameters<typeof startNode>[1]>) {
    ailing.paths.push(incoming.url!)
    incoming.resume()
    if (ailing.status === 0) return
    response.statusCode = ailing.status
    response.end(ailing.address)
  }
  return ailing
}

const isHealthy = ({ app }: TestApp, i: number) => app.wasmGateway.status().upstreams[0]!.nodes[i]!.healthy

const probed = (...nodes: Node[]) => until(() => nodes.every((node) => node.accepted() > 0), 'they are probed')

/** Which nodes answer a number of requests. */
async function answering(url: string, count: number): Promise<string[]> {
  const texts: string[] = []
  for (let i = 0; i < count; i++) texts.push((await request(`${url}/client`)).text)
  return [...new Set(texts)]
}

test('a node whose probes fail is sent no requests, until they succeed again', async (t) => {
  const [a, b] = [await startAiling(t), await startAiling(t)]
  const checks = { active: { http_path: '/health', ...OFTEN } }
  const proxy = await startProxy(t, { nodes: { [a.address]: 1, [b.address]: 1 }, checks })
  assert.deepEqual((await answering(proxy.url, 4)).length, 2)
  a.status = 500
  await until(() => !isHealthy(proxy, 0), 'the node is found to be unhealthy')
  assert.deepEqual(await answering(proxy.url, 6), [b.address])
  a.status = 200
  await until(() => isHealthy(proxy, 0), 'the node is found to be healthy')
  assert.deepEqual((await answering(proxy.url, 4)).length, 2)
  assert(a.paths.includes('/health'))
  const said = proxy.lines.map(({ msg }) => msg).filter((msg) => msg.includes(a.address))
  assert.match(said[0]!, /is unhealthy: status 500$/)
  assert.match(said[1]!, /is healthy again: status 200$/)
})

test('a node that refuses connections, and comes back, is found out', async (t) => {
  const node = await startAiling(t)
  const proxy = await startProxy(t, { nodes: { [REFUSED]: 1, [node.address]: 1 }, checks: { active: OFTEN } })
  await until(() => !isHealthy(proxy, 0), 'the node is found to be unhealthy')
  assert.deepEqual(await answering(proxy.url, 5), [node.address])
})

test('a probe that is not answered in its time counts as a timeout', async (t) => {
  const node = await startAiling(t, 0)
  const active = { timeout: 0.1, healthy: { interval: 0.1 }, unhealthy: { interval: 0.1, timeouts: 1 } }
  const proxy = await startProxy(t, { nodes: { [node.address]: 1 }, checks: { active } })
  await until(() => !isHealthy(proxy, 0), 'the node is found to be unhealthy')
  assert.match(proxy.lines.find(({ msg }) => msg.includes('is unhealthy'))!.msg, /timeout/)
})

test('probes are what the checks say: method, path, host, port, headers, body', async (t) => {
  const seen: string[] = []
  const checked = await startNode(t, (incoming, response) => {
    const { method, url, headers } = incoming
    incoming.on('data', (chunk) => seen.push(`${method} ${url} ${headers.host} ${headers['x-a']} ${chunk}`))
    incoming.on('end', () => response.end())
  })
  const node = await startAiling(t)
  const active: Checks['active'] = {
    http_method: 'POST',
    http_path: '/up?x=1',
    http_request_body: 'ping',
    host: 'health.test',
    port: checked.port,
    req_headers: ['X-A: one'],
    ...OFTEN
  }
  await startProxy(t, { nodes: { [node.address]: 1 }, checks: { active } })
  await until(() => seen.length > 1, 'it was probed')
  assert.equal(seen[0], 'POST /up?x=1 health.test one ping')
  assert.deepEqual(node.paths, [])
})

test('probes of type tcp want a connection and no more', async (t) => {
  const node = await startRawNode(t, () => {})
  const active: Checks['active'] = { type: 'tcp', ...OFTEN }
  const proxy = await startProxy(t, { nodes: { [node.address]: 1, [REFUSED]: 1 }, checks: { active } })
  await until(() => !isHealthy(proxy, 1) && node.accepted() > 2, 'they are probed')
  assert(isHealthy(proxy, 0))
})

test('probes of type https verify the certificate, unless they are told otherwise', async (t) => {
  const node = await startNode(t, (_incoming, response) => response.end(), createSecureServer(certificate))
  const healthy = async (https_verify_certificate: boolean) => {
    const active: Checks['active'] = { type: 'https', https_verify_certificate, ...OFTEN }
    const before = node.accepted()
    const proxy = await startProxy(t, { scheme: 'https', nodes: { [node.address]: 1 }, checks: { active } })
    await until(() => node.accepted() > before + 3 || !isHealthy(proxy, 0), 'it is probed')
    return isHealthy(proxy, 0)
  }
  assert.equal(await healthy(true), false)
  assert.equal(await healthy(false), true)
})

test('statuses that clients are answered make a node unhealthy (passive)', async (t) => {
  const [a, b] = [await startAiling(t, 503), await startAiling(t)]
  const checks = { active: SELDOM, passive: { unhealthy: { http_statuses: [503], http_failures: 3 } } }
  const proxy = await startProxy(t, { nodes: { [a.address]: 1, [b.address]: 1 }, checks })
  await probed(a, b)
  const statuses: number[] = []
  for (let i = 0; i < 12; i++) statuses.push((await request(`${proxy.url}/`)).status)
  assert.equal(statuses.filter((status) => status === 503).length, 3)
  assert.equal(isHealthy(proxy, 0), false)
})

test('a success in between begins the count anew, and other statuses do not count', async (t) => {
  const node = await startAiling(t)
  const checks = { active: SELDOM, passive: { unhealthy: { http_failures: 2 } } }
  const proxy = await startProxy(t, { nodes: { [node.address]: 1 }, checks })
  await probed(node)
  for (const status of [500, 200, 500, 404, 418, 200, 500]) {
    node.status = status
    await request(`${proxy.url}/`)
  }
  assert.equal(isHealthy(proxy, 0), true)
  node.status = 429
  await request(`${proxy.url}/`)
  assert.equal(isHealthy(proxy, 0), false)
})

test('connections that fail or break make a node unhealthy (passive)', async (t) => {
  const good = await startAiling(t)
  const resetting = await startRawNode(t, (socket) => socket.on('data', () => socket.resetAndDestroy()))
  const checks = { active: SELDOM, passive: { unhealthy: { tcp_failures: 2 } } }
  const proxy = await startProxy(t, { nodes: { [resetting.address]: 1, [good.address]: 1 }, checks })
  await probed(resetting, good)
  const statuses: number[] = []
  for (let i = 0; i < 8; i++) statuses.push((await request(`${proxy.url}/`, { method: 'POST' })).status)
  assert.equal(statuses.filter((status) => status === 502).length, 2)
  assert.equal(isHealthy(proxy, 0), false)
})

test('answers that come too late, or break off, make a node unhealthy (passive)', async (t) => {
  const silent = await startAiling(t, 0)
  const checks = { active: SELDOM, passive: { unhealthy: { timeouts: 1, tcp_failures: 1 } } }
  const timeout = { connect: 5, send: 5, read: 0.1 }
  const late = await startProxy(t, { nodes: { [silent.address]: 1 }, checks, timeout })
  await probed(silent)
  assert.equal((await request(`${late.url}/`)).status, 504)
  assert.equal(isHealthy(late, 0), false)

  const breaking = await startRawNode(t, (socket) =>
    socket.on('data', () => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc')
      setTimeout(() => socket.resetAndDestroy(), 20)
    })
  )
  const broken = await startProxy(t, { nodes: { [breaking.address]: 1 }, checks })
  await probed(breaking)
  await assert.rejects(request(`${broken.url}/`))
  await until(() => !isHealthy(broken, 0), 'it is found to be unhealthy')
})

test('a client that leaves says nothing about the node', async (t) => {
  const silent = await startAiling(t, 0)
  const checks = { active: SELDOM, passive: { unhealthy: { timeouts: 1, tcp_failures: 1, http_failures: 1 } } }
  const proxy = await startProxy(t, { nodes: { [silent.address]: 1 }, checks })
  await assert.rejects(request(`${proxy.url}/client`, { signal: AbortSignal.timeout(200) }))
  await proxy.quiet()
  assert.equal(silent.paths.filter((path) => path === '/client').length, 1)
  assert.equal(isHealthy(proxy, 0), true)
})

test('when no node is healthy all of them are tried', async (t) => {
  const [a, b] = [await startAiling(t, 500), await startAiling(t, 500)]
  const proxy = await startProxy(t, {
    nodes: { [a.address]: 1, [b.address]: 1 },
    checks: { active: { ...OFTEN, http_path: '/health' } }
  })
  await until(() => !isHealthy(proxy, 0) && !isHealthy(proxy, 1), 'both are found to be unhealthy')
  assert.equal((await answering(proxy.url, 4)).length, 2)
  assert(proxy.lines.some(({ msg }) => msg.includes('no node of the upstream is healthy')))
})

test('probes end with the application', async (t) => {
  const node = await startAiling(t)
  const proxy = await startProxy(t, { nodes: { [node.address]: 1 }, checks: { active: OFTEN } })
  await until(() => node.paths.length > 1, 'it is probed')
  await proxy.app.close()
  const asked = node.paths.length
  await sleep(400)
  assert(node.paths.length <= asked + 1)
})

test('what is known of the nodes outlives a reload that leaves their upstream as it is', async (t) => {
  const [a, b] = [await startAiling(t, 500), await startAiling(t)]
  const checks = { active: SELDOM, passive: { unhealthy: { http_failures: 1 } } }
  const options = (uri: string, retries: number) => ({
    upstreams: [{ id: 'u', nodes: { [a.address]: 1, [b.address]: 1 }, checks, retries }],
    routes: [{ id: 1, uri, upstream_id: 'u' }]
  })
  const proxy = await startApp(t, options('/*', 1), () => {})
  await probed(a, b)
  await answering(proxy.url, 2)
  assert.equal(isHealthy(proxy, 0), false)
  await proxy.app.wasmGateway.reload(options('/cl*', 1))
  assert.equal(isHealthy(proxy, 0), false)
  await proxy.app.wasmGateway.reload(options('/cl*', 0))
  assert.equal(isHealthy(proxy, 0), true)
})
