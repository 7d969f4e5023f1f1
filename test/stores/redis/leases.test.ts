import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../eventually.ts'
import { connect, RedisServer, skip } from './redis-server.ts'

const KEY = 'wasm:lease:p'

test('a lease is one process’s, and another one’s as soon as it is given up', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const [a, b] = [await connect(t, server), await connect(t, server)]
  const one = a.stores.leases.of('p')
  const other = b.stores.leases.of('p')
  const giveUp = one.want()
  await eventually('it is held', () => one.isHeld)
  other.want()
  await other.renew()
  assert.equal(other.isHeld, false)
  giveUp()
  assert.equal(one.isHeld, false)
  await eventually('the other one has it', () => {
    other.renew()
    return other.isHeld
  })
})

test('a lease that is given up before it was had is nobody’s', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { stores } = await connect(t, server)
  const lease = stores.leases.of('p')
  const other = stores.leases.of('other')
  other.want()
  await eventually('there is a connection', () => other.isHeld)
  lease.want()()
  // Its answer comes behind all that was sent.
  await other.renew()
  assert.equal(await server.control.exists(KEY), 0)
})

test('a lease goes on while Redis is full', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { stores } = await connect(t, server)
  const lease = stores.leases.of('p')
  lease.want()
  await eventually('it is held', () => lease.isHeld)
  await server.control.config('SET', 'maxmemory', '1')
  await server.control.pexpire(KEY, 3000)
  await lease.renew()
  assert.ok((await server.control.pttl(KEY)) > 3000)
})
