import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { LogRate } from '../../lib/host/log-rate.ts'
import { Refusal } from '../../lib/host/refusals.ts'
import { RecordingLogger } from './recording-logger.ts'

function rateOf(limit: number) {
  const reports: number[] = []
  const clock = { now: 5000 }
  const rate = new LogRate(
    limit,
    (dropped) => reports.push(dropped),
    () => clock.now
  )
  const take = (count: number) => Array.from({ length: count }, () => rate.take()).filter((taken) => taken).length
  return { take, reports, clock }
}

test('no more lines than the limit are taken in a second, and the next line tells how many were dropped', () => {
  const { take, reports, clock } = rateOf(10)
  assert.equal(take(25), 10)
  clock.now += 999
  assert.equal(take(1), 0)
  assert.deepEqual(reports, [])
  clock.now += 1
  assert.equal(take(1), 1)
  assert.deepEqual(reports, [16])
  clock.now += 1000
  assert.equal(take(10), 10)
  assert.deepEqual(reports, [16], 'nothing was dropped since')
})

test('when no line follows, a timer tells, once', () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const { take, reports, clock } = rateOf(10)
    take(12)
    mock.timers.tick(999)
    assert.deepEqual(reports, [])
    mock.timers.tick(1)
    assert.deepEqual(reports, [2])
    clock.now += 1000
    take(11)
    clock.now += 1000
    take(1)
    mock.timers.tick(5000)
    assert.deepEqual(reports, [2, 1], 'the line was faster')
  } finally {
    mock.timers.reset()
  }
})

test('the timer does not keep the process', () => {
  const { take } = rateOf(1)
  take(2)
  assert.deepEqual(
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout'),
    []
  )
})

test('a limit of 0 is none', () => {
  assert.equal(rateOf(0).take(5000), 5000)
})

test('a refusal is said once until it has worked again, and at most once a minute', () => {
  const log = new RecordingLogger()
  const clock = { now: 0 }
  const refusal = new Refusal(() => clock.now)
  const refuse = () => refusal.refused({ log, name: 'test' } as never, 'no')
  refuse()
  clock.now += 100_000
  refuse()
  assert.deepEqual(log.lines, [{ level: 'warn', msg: 'test: no', plugin: 'test' }])
  refusal.worked()
  refuse()
  assert.equal(log.lines.length, 2)
  refusal.worked()
  refuse()
  clock.now += 60_000
  refuse()
  refuse()
  assert.equal(log.lines.length, 3)
})
