import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { loadModule } from '../../lib/host/index.ts'
import { fuzzGuest, IMPORTS } from './fuzz-guest.ts'
import { Random } from './fuzz-random.ts'
import { Fuzzer } from './fuzzer.ts'
import { memoryStores } from './host.ts'

/** FUZZ_CALLS=1000000 for a long run, FUZZ_SEED for one again that has failed, FUZZ_SHOW=1 to see what was answered. */
const CALLS = Number(process.env.FUZZ_CALLS ?? 200_000)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 32)
/** More than what the shared stores may keep. */
const MAX_GROWTH = 256 * 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function usedMemory(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/**
 * From here on no time passes by itself and nothing is left to chance, so that the same seed leads to the same calls; and
 * `poll_oneoff` does not sleep.
 *
 * @returns lets milliseconds pass at once
 */
function takeControl(t: TestContext): (milliseconds: number) => void {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { now } = performance
  const { bigint } = process.hrtime
  const { wait } = Atomics
  const { randomFillSync } = crypto
  t.after(() => {
    crypto.randomFillSync = randomFillSync
    syncBuiltinESMExports()
    performance.now = now
    process.hrtime.bigint = bigint
    Atomics.wait = wait
  })
  // Mocks would keep the stack of each call, and with it the instance.
  let passed = 2 ** 40 - performance.timeOrigin
  performance.now = () => passed
  process.hrtime.bigint = () => BigInt(Math.floor(passed)) * 1_000_000n
  Atomics.wait = () => 'timed-out'
  crypto.randomFillSync = ((buffer: Uint8Array) => buffer.fill(7)) as typeof randomFillSync
  syncBuiltinESMExports()
  return (milliseconds) => {
    passed += milliseconds
    t.mock.timers.tick(milliseconds)
  }
}

test(`${CALLS} calls of host functions with any arguments, in any callback, answer statuses and leave nothing`, async (t) => {
  const passTime = takeControl(t)
  const random = new Random(SEED)
  const module = await loadModule('fuzz', await fuzzGuest())
  const stores = memoryStores()
  const answers = new Map<string, Map<number, number>>()
  const fuzzers: WeakRef<Fuzzer>[] = []
  const before = usedMemory()
  let made = 0
  let instances = 0
  try {
    while (made < CALLS) {
      instances++
      const fuzzer = new Fuzzer(module, stores, random, answers)
      fuzzers.push(new WeakRef(fuzzer))
      made += await fuzzer.run(passTime)
    }
  } catch (error) {
    throw new Error(`FUZZ_SEED=${SEED}, instance ${instances}, after ${made} calls: ${inspect(error)}`)
  }
  const growth = usedMemory() - before
  t.diagnostic(`${made} calls by ${instances} instances, seed ${SEED}, ${Math.round(growth / 1024)} KiB kept`)
  if (process.env.FUZZ_SHOW) for (const [name, counts] of answers) t.diagnostic(`${name} ${inspect(counts)}`)
  assert.ok(growth < MAX_GROWTH, `${growth} bytes are kept`)
  // The last ones may be on the stack still.
  const kept = fuzzers.filter((fuzzer) => fuzzer.deref() !== undefined).length
  assert.ok(kept < 5, `${kept} of ${instances} instances are kept`)
  // All but proc_exit and abort.
  assert.equal(answers.size, new Set(IMPORTS.map(({ name }) => name)).size - 2)
})
