import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startUpstream } from '../../app.ts'
import { folder } from '../../folder.ts'
import { request } from '../../http.ts'
import { type Admin, adminOf, KEY } from './admin.ts'

const KILLS = 20
const WRITERS = 3

/** So much that a write of the file takes a while. */
const BALLAST = { desc: 'x'.repeat(600_000) }

/** What an object of the test is told apart by; `undefined`: it is not there. */
type State = number | undefined

/** What one writer knows of an object of its own. */
interface Known {
  acknowledged: State
  /** What becomes of the write that has no answer: one of the two. */
  pending: { state: State } | undefined
}

/** The number is all over the object: what was half written would show. */
const upstreamOf = (n: number) => ({
  nodes: { '127.0.0.1:1980': n },
  retries: n,
  desc: `${n} `.repeat(500),
  labels: { n: String(n) }
})

function stateOf({ nodes, retries, desc, labels }: Record<string, unknown>): number {
  const n = retries as number
  assert.deepEqual({ nodes, retries, desc, labels }, upstreamOf(n))
  return n
}

let counter = 0

/** Writes one object again and again, until the gateway is gone. */
async function write(admin: Admin, id: string, known: Known, posted: Map<string, number>): Promise<void> {
  for (;;) {
    const n = ++counter
    const kind = known.acknowledged === undefined ? 'PUT' : ['PUT', 'PATCH', 'PATCH', 'DELETE', 'POST'][n % 5]!
    if (kind !== 'POST') known.pending = { state: kind === 'DELETE' ? undefined : n }
    try {
      const { status, body } = await admin(
        kind,
        kind === 'POST' ? '/upstreams' : `/upstreams/${id}`,
        kind === 'DELETE'
          ? undefined
          : { ...upstreamOf(n), ...(kind === 'PATCH' && { nodes: { '127.0.0.1:1980': n } }) }
      )
      assert.ok(status === 200 || status === 201, JSON.stringify(body))
      if (kind === 'POST') posted.set(body.value.id, n)
      else known.acknowledged = known.pending!.state
      known.pending = undefined
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      return
    }
  }
}

test('killed at any moment, a gateway has every write that was acknowledged, and none in part', async (t) => {
  const path = await folder(t)
  const file = join(path, 'store.json')
  const children = new Set<ChildProcess>()
  t.after(() => {
    for (const child of children) child.kill('SIGKILL')
  })
  const prepare = () => {
    const child = fork(join(import.meta.dirname, 'killed-gateway.ts'), { execArgv: ['--import', 'tsx'] })
    children.add(child)
    return child
  }
  const start = async (child: ChildProcess) => {
    child.send({ options: { admin: { key: KEY }, store: { file } } })
    const port = await new Promise<number>((resolve, reject) => {
      child.once('message', (message: { port: number }) => resolve(message.port))
      child.once('exit', (code) => reject(new Error(`the gateway ended with ${code} before it listened`)))
    })
    return `http://127.0.0.1:${port}`
  }
  const known = new Map(Array.from({ length: WRITERS }, (_, i) => [`own-${i}`, newKnown()]))
  const posted = new Map<string, number>()
  let pendingPosts = 0
  const check = async (admin: Admin) => {
    const { status, body } = await admin('GET', '/upstreams')
    assert.equal(status, 200)
    const states = new Map(body.list.map(({ value }) => [value.id, stateOf(value)]))
    for (const [id, one] of known) {
      const state = states.get(id)
      const possible = one.pending === undefined ? [one.acknowledged] : [one.acknowledged, one.pending.state]
      assert.ok(possible.includes(state), `${id} is ${state}, and not one of ${possible}`)
      known.set(id, { acknowledged: state, pending: undefined })
      states.delete(id)
    }
    const { body: ballast } = await admin('GET', '/services/ballast')
    assert.ok(ballast.value.desc === BALLAST.desc)
    for (const [id, n] of posted) assert.equal(states.get(id), n)
    // What was posted and not answered may be there.
    const unknown = [...states.keys()].filter((id) => !posted.has(id))
    assert.ok(unknown.length <= pendingPosts, `${unknown.length} > ${pendingPosts}`)
    for (const id of unknown) posted.set(id, states.get(id)!)
    pendingPosts = 0
  }

  // Made ready ahead, so that the loop waits less for them.
  const ready = [prepare(), prepare(), prepare()]
  for (let kill = 0; kill < KILLS; kill++) {
    const child = ready.shift()!
    const url = await start(child)
    const admin = adminOf(`${url}/apisix/admin`)
    if (kill === 0) await admin('PUT', '/services/ballast', BALLAST)
    await check(admin)
    const before = counter
    const writers = Promise.all([...known].map(([id, one]) => write(admin, id, one, posted)))
    const busy = (async () => {
      while (counter < before + 2 * WRITERS) await sleep(1)
      await sleep(Math.random() * 40)
    })()
    await Promise.race([busy, writers])
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    children.delete(child)
    ready.push(prepare())
    await writers
    pendingPosts = WRITERS
  }
  const url = await start(ready[0]!)
  const admin = adminOf(`${url}/apisix/admin`)
  await check(admin)
  assert.deepEqual(await readdir(path), ['store.json'])
  assert.ok(counter > KILLS * WRITERS)
  const { node } = await startUpstream(t, (app) => app.get('/*', async () => 'reached'))
  await admin('PUT', '/routes/1', { uri: '/a', upstream: { nodes: { [node]: 1 } } })
  assert.equal((await request(`${url}/a`)).text, 'reached')
})

function newKnown(): Known {
  return { acknowledged: undefined, pending: undefined }
}
