import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fixture, startApp, startUpstream, type TestApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import type { Script, Step } from './script.ts'

// Hundreds of exchanges on two instances at once: their calls, the ticks and the queue's notifications come in any order,
// and everyone sees its own.

const REQUESTS = 300
const ROUTES = ['one', 'two'] as const
const PLUGINS = ['go', 'rust'] as const
type Plugin = (typeof PLUGINS)[number]
const routeOf = (i: number) => ROUTES[i % 2]!
const numbers = Array.from({ length: REQUESTS }, (_, i) => i)
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** What a request of a route makes a plugin do: its number is in its header `x-number`, all else follows from that. */
function script(route: string, plugin: Plugin, upstream: string): Script {
  const count: Step = { op: 'shared_count', name: 'counted' }
  const each = (steps: (i: number) => Step[]): Step[] =>
    numbers
      .filter((i) => routeOf(i) === route)
      .map((i) => ({ op: 'if_header', map: 'request', name: 'x-number', value: String(i), steps: steps(i) }))
  const call = (direction: 'request' | 'response') => (i: number) => {
    const marker = `${plugin}-${direction}-${i}`
    const then: Step[] = [
      { op: 'body', of: 'call' },
      { op: 'get', map: 'call', name: 'x-answer-to' },
      { op: 'get', map: 'request', name: 'x-number' },
      count,
      { op: 'add', map: direction, name: `x-${plugin}`, value: marker },
      { op: 'continue', stream: direction }
    ]
    const headers = [[':path', `/${marker}`]]
    return [count, { op: 'call', upstream, headers, timeout: 60_000, then }]
  }
  // One of them holds its exchanges by a pause, the other by calls that are outstanding.
  const hold: Step[] = plugin === 'rust' ? [{ op: 'pause' }] : []
  return {
    start: [
      { op: 'resolve_queue', name: 'jobs' },
      { op: 'tick', ms: 3 }
    ],
    tick: [{ op: 'shared_count', name: `ticks of ${plugin} ${route}` }],
    request_headers: [
      ...each((i) => [{ op: 'enqueue', name: 'jobs', value: `${plugin} ${i}` }, ...call('request')(i)]),
      ...hold
    ],
    response_headers: [...each(call('response')), ...hold]
  }
}

async function exchangeAll(gateway: TestApp): Promise<void> {
  const responses = await Promise.all(
    numbers.map((i) => request(`${gateway.url}/${routeOf(i)}`, { headers: { 'x-number': String(i) } }))
  )
  responses.forEach((response, i) => {
    assert.equal(response.status, 200)
    assert.equal(response.text, `${routeOf(i)} ${i} go-request-${i} rust-request-${i}`)
    assert.equal(response.headers['x-go'], `go-response-${i}`)
    assert.equal(response.headers['x-rust'], `rust-response-${i}`)
  })
}

/** What each request was logged, by its number; each line of a filter went through the logger of its own request. */
function logsByNumber({ lines }: TestApp): Map<string, string[]> {
  const byRequest = new Map<string, string[]>()
  for (const { reqId, plugin, msg } of lines) {
    if (reqId === undefined || plugin === undefined) continue
    byRequest.set(reqId, [...(byRequest.get(reqId) ?? []), msg])
  }
  const byNumber = new Map<string, string[]>()
  for (const messages of byRequest.values()) {
    const own = new Set(messages.filter((message) => message.startsWith('request x-number=')))
    assert.equal(own.size, 1, `one exchange has the lines of others: ${[...own]}`)
    byNumber.set([...own][0]!.replace('request x-number=', ''), messages)
  }
  return byNumber
}

test(`${REQUESTS} exchanges at once, with calls, ticks and a queue between them, see each its own`, async (t) => {
  const asked: string[] = []
  const upstream = await startUpstream(t, (app) => {
    app.get('/:marker', async (request, reply) => {
      const { marker } = request.params as { marker: string }
      asked.push(marker)
      await sleep(Math.random() * 40)
      reply.header('x-answer-to', marker)
      return marker
    })
  })
  const consumer: Script = {
    start: [{ op: 'register_queue', name: 'jobs' }],
    queue: [{ op: 'dequeue', name: 'jobs' }]
  }
  // All of their lines are looked at.
  const limits = { log_lines: 0 }
  const plugins = [
    { name: 'go', file: fixture('script-go'), limits },
    { name: 'rust', file: fixture('script-rust'), limits },
    { name: 'consumer', file: fixture('script-rust'), conf: consumer, limits }
  ]
  const gateway = await startApp(t, { plugins }, (app) => {
    for (const route of ROUTES) {
      const confs = PLUGINS.map((plugin) => [plugin, { conf: script(route, plugin, upstream.node) }])
      app.get(`/${route}`, { config: { wasm: { plugins: Object.fromEntries(confs) } } }, async ({ headers }) => {
        await sleep(Math.random() * 20)
        return [route, headers['x-number'], headers['x-go'], headers['x-rust']].join(' ')
      })
    }
  })
  const { app, filterLog, lines } = gateway

  await exchangeAll(gateway)
  await gateway.quiet()

  // Every call was made once, and its answer came to who made it.
  const markers = numbers.flatMap((i) =>
    PLUGINS.flatMap((plugin) => [`${plugin}-request-${i}`, `${plugin}-response-${i}`])
  )
  assert.deepEqual(asked.sort(), markers.sort())
  const logs = logsByNumber(gateway)
  assert.equal(logs.size, REQUESTS)
  for (const i of numbers) {
    const own = PLUGINS.flatMap((plugin) => [`${plugin}-request-${i}`, `${plugin}-response-${i}`]).sort()
    const logged = (start: string) =>
      logs
        .get(String(i))!
        .filter((message) => message.startsWith(start))
        .map((message) => message.slice(start.length))
        .sort()
    assert.deepEqual(logged('call body='), own)
    assert.deepEqual(logged('call x-answer-to='), own)
  }

  // The count by compare and swap is exact: twice for each call.
  const counted = filterLog().flatMap((message) => /^shared counted=(\d+)$/.exec(message)?.[1] ?? [])
  assert.deepEqual(
    counted.map(Number).sort((a, b) => a - b),
    upTo(markers.length * 2)
  )

  // Every item of the queue was taken once, by its consumer, on behalf of no request.
  const items = numbers.flatMap((i) => PLUGINS.map((plugin) => `queue jobs=${plugin} ${i}`))
  await eventually('every item was taken', () => filterLog('consumer').length >= items.length)
  assert.deepEqual(filterLog('consumer').sort(), items.sort())
  assert.ok(lines.every(({ plugin, reqId }) => plugin !== 'consumer' || reqId === undefined))

  // All plugin contexts ticked meanwhile, each with its own script, on behalf of no request.
  for (const plugin of PLUGINS) {
    for (const route of ROUTES) {
      const ticks = lines.filter(({ msg }) => msg.startsWith(`shared ticks of ${plugin} ${route}=`))
      assert.ok(ticks.length > 0)
      assert.ok(ticks.every((line) => line.plugin === plugin && line.reqId === undefined))
      assert.deepEqual(
        ticks.map(({ msg }) => Number(msg.split('=')[1])),
        upTo(ticks.length)
      )
    }
  }
  for (const plugin of app.wasmGateway.status().plugins) {
    assert.deepEqual([plugin.name, plugin.calls, plugin.failures, plugin.instances], [plugin.name, 0, 0, 1])
  }
})
