import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisStores } from '../../../lib/stores/redis/redis-stores.ts'
import type { SharedValue } from '../../../lib/stores/shared-data.ts'
import type { Task } from './processes.ts'

// A process of several that share one Redis: does what it is told, and answers.

const [url, lib] = process.argv.slice(2)
const { RedisStores: Stores } = (await import(join(lib!, 'stores/redis/redis-stores.ts'))) as {
  RedisStores: typeof RedisStores
}
const quiet = () => {}
const settings = { url, options: {}, cluster: undefined, prefix: 'wasm:', timeoutMs: 2000, ttlMs: {} }
const stores = new Stores(settings, { info: quiet, warn: quiet, error: quiet }, quiet, 1000)
const { sharedData, queues } = stores
await stores.ready()
while (!stores.status.connected) await sleep(10)
process.on('disconnect', () => process.exit())
process.on('message', async (task: Task) => process.send!(await run(task)))
process.send!('ready')

async function run(task: Task): Promise<unknown> {
  switch (task.task) {
    case 'set':
      await sleep(task.afterMs)
      return sharedData.set('', task.key, Buffer.from(task.value), 0)
    case 'count':
      for (let i = 0; i < task.times; i++) {
        await add(task.key)
        if (i % 50 === 0) await sleep(0)
      }
      return true
    case 'mix':
      return mix(task.keys, task.ms)
    case 'read':
      return task.keys.map((key) => read(key)?.value.toString('latin1') ?? null)
    case 'put':
      for (let i = 0; i < task.items; i++) {
        if (queues.enqueue(queues.resolve('', task.queue)!, Buffer.from(String(task.from + i))) !== true) i--
        if (i % 20 === 0) await sleep(1)
      }
      return true
    default: {
      // Tells of each item, then goes on.
      queues.register('', task.queue, (id) => {
        const item = queues.dequeue(id)
        if (item) process.send!({ item: Number(item.toString()) })
      })
      return true
    }
  }
}

/** Once Redis can be asked, whatever becomes of it meanwhile. */
function read(key: string): SharedValue | undefined {
  const shared = sharedData.get('', key)
  if (shared === 'unavailable') throw new Error('unavailable')
  return shared
}

async function add(key: string): Promise<void> {
  for (;;) {
    const shared = sharedData.get('', key)
    if (shared === 'unavailable') {
      await sleep(10)
      continue
    }
    const next = Buffer.from(String(Number(shared?.value ?? 0) + 1))
    const set = sharedData.set('', key, next, shared?.cas ?? 1)
    if (set === true) return
    if (set === 'unknown' || set === undefined) throw new Error(`a set is ${set}`)
  }
}

/** Reads, sets and swaps at random, for a while. */
async function mix(keys: readonly string[], ms: number): Promise<boolean> {
  const end = performance.now() + ms
  for (let i = 0; performance.now() < end; i++) {
    const key = keys[Math.floor(Math.random() * keys.length)]!
    const value = Buffer.from(`${process.pid} ${i}`)
    const kind = Math.random()
    const shared = sharedData.get('', key)
    if (kind < 0.1) sharedData.set('', key, value, 0)
    else if (kind < 0.2 && typeof shared === 'object') sharedData.set('', key, value, shared.cas)
    if (i % 20 === 0) await sleep(0)
  }
  return true
}
