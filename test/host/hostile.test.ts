import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Outcome } from '../../lib/host/index.ts'
import { fixture } from '../app.ts'
import { eventually } from '../eventually.ts'
import { HARMLESS, LOOPS, TRAPS, WHERE, type Where } from '../hostile.ts'
import { FakeStream } from './fake-stream.ts'
import { type Host, startHost } from './host.ts'

const bytes = readFileSync(fixture('hostile'))
const LIMITS = { callMs: 30, startMs: 60, memoryMib: 8 }

const start = (where: Where, what: string): Promise<Host> => {
  const text = WHERE[where] + what
  return startHost(bytes, {
    ...(where === 'vm_start' ? { vmConfiguration: text } : { configuration: text }),
    limits: LIMITS
  })
}

/** Runs an exchange through all callbacks, as far as it comes. */
async function exchange(host: Host, stream: FakeStream): Promise<Outcome> {
  const context = host.filter.open(stream)
  if (context === undefined) return Outcome.Failed
  const steps = [
    () => context.requestHeaders(false),
    () => context.requestBodyPhase({ bytes: Buffer.from('body'), changed: false }, true),
    () => context.responseHeaders(false),
    () => context.responseBodyPhase({ bytes: Buffer.from('body'), changed: false }, true)
  ]
  for (const step of steps) {
    const outcome = step()
    if (host.httpCalls.outstanding.length > 0) host.httpCalls.answer()
    const settled = await outcome
    if (settled === Outcome.Failed) return settled
  }
  context.end(false)
  return Outcome.Continue
}

const linesOf = (host: Host, stream: FakeStream) => [...host.log.lines, ...stream.log.lines]

/** Ticks and queues come by themselves. */
const BY_ITSELF: readonly Where[] = ['tick', 'queue_ready']

for (const where of Object.keys(WHERE) as Where[]) {
  for (const [what, letter] of [...Object.entries(TRAPS), ...Object.entries(LOOPS)]) {
    test(`${what} in ${where} ends the instance, and nothing else`, async () => {
      const host = await start(where, letter)
      const stream = new FakeStream(['x-a', 'one'])
      await exchange(host, stream)
      if (BY_ITSELF.includes(where)) await eventually('it has failed', () => host.plugin.status().failures > 0)
      assert.equal(host.plugin.status().failures, 1)
      assert.equal(host.plugin.status().http_contexts, 0)
      const isStart = where === 'vm_start' || where === 'configure'
      const stopped = new RegExp(`it ran for more than ${isStart ? 60 : 30} ms, and was stopped \\(limits\\.`)
      const failures = linesOf(host, stream).flatMap(({ err }) => (err === undefined ? [] : [err.message]))
      assert.equal(
        failures.some((message) => stopped.test(message)),
        Object.values<string>(LOOPS).includes(letter),
        failures.join('\n')
      )
    })
  }
  for (const [what, letter] of Object.entries(HARMLESS)) {
    test(`${what} in ${where}: the filter goes on, with a status`, async () => {
      const host = await start(where, letter)
      const stream = new FakeStream(['x-a', 'one'])
      assert.equal(await exchange(host, stream), Outcome.Continue)
      await eventually('it has gone on', () => linesOf(host, stream).some(({ msg }) => msg === 'still here'))
      const { failures, instance } = host.plugin.status()
      assert.equal(failures, 0)
      if (letter === HARMLESS['memory that grows until it may not']) {
        assert.equal(instance?.memory_bytes, LIMITS.memoryMib * 2 ** 20 - 12 * 65_536)
      }
    })
  }
}

for (const [what, letter, backsOff] of [
  ['traps in its ticks is there again for the next exchange, each time', TRAPS.unreachable, false],
  [
    'is stopped in its ticks is started less and less often: it holds up the process each time',
    LOOPS['a plain loop'],
    true
  ]
] as const) {
  test(`a filter that ${what}`, async () => {
    const host = await start('tick', letter)
    for (let failures = 1; failures <= 2; failures++) {
      host.filter.open(new FakeStream())?.end(false)
      await eventually('it has failed', () => host.plugin.status().failures === failures)
    }
    const context = host.filter.open(new FakeStream())
    assert.equal(context === undefined, backsOff)
    context?.end(false)
    assert.equal(
      host.log.messages('error').some((line) => /it starts again in \d+ ms/.test(line)),
      backsOff
    )
    await host.filter.close()
  })
}
