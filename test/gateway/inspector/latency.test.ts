import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Latency, SLOT_MS, SLOTS } from '../../../lib/gateway/inspector/latency.ts'

const START = 1_700_000_000_000

function near(value: number, expected: number): void {
  assert.ok(Math.abs(value / expected - 1) < 0.2, `${value} is not near ${expected}`)
}

test('a slot has the median and the 99th percentile of its calls', () => {
  const latency = new Latency()
  for (let i = 0; i < 98; i++) latency.add(0.01, START)
  for (let i = 0; i < 2; i++) latency.add(5, START)
  const point = latency.points(START).at(-1)!
  assert.equal(point.count, 100)
  near(point.median, 10)
  near(point.p99, 5000)
})

test('what is older than ten minutes is gone, also where a slot is used again', () => {
  const latency = new Latency()
  latency.add(1, START)
  const last = START + (SLOTS - 1) * SLOT_MS
  assert.equal(latency.points(last)[0]?.count, 1)
  assert.equal(latency.total(last)?.count, 1)
  assert.equal(latency.total(last + SLOT_MS), undefined)
  latency.add(2, START + SLOTS * SLOT_MS)
  assert.equal(latency.total(START + SLOTS * SLOT_MS)?.count, 1)
})

test('calls of any length have a place', () => {
  const latency = new Latency()
  for (const milliseconds of [0, 1e-9, 1e9]) latency.add(milliseconds, START)
  assert.equal(latency.total(START)?.count, 3)
})
