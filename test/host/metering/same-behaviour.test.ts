import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { arm, enterModule, leaveModule } from '../../../lib/host/metering/clock.ts'
import { Unsupported } from '../../../lib/host/metering/unsupported.ts'
import { loadModule } from '../../../lib/host/module.ts'
import { wat } from '../../wat.ts'
import { instrumented } from './instrumented.ts'
import { programs } from './programs.ts'

const STOPPABLE = { stoppable: true, maxPages: 65_536 }

interface Program {
  readonly memory: { readonly buffer: ArrayBuffer }
  readonly i32: { value: number }
  readonly i64: { value: bigint }
  readonly f64: { value: number }
}

/** Everything that can be seen of a program after it has run. */
function run(bytes: Uint8Array, hookTable?: string): unknown[] {
  const calls: number[] = []
  const host = (value: number) => {
    calls.push(value)
    return value ^ 5
  }
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { host } })
  if (hookTable !== undefined) arm(exports[hookTable])
  const { memory, i32, i64, f64 } = exports as unknown as Program
  const results = [0, 1, 2, 3].map((index) => {
    const run = exports[`f${index}`] as (a: number, b: number, c: bigint, d: number) => number
    const depth = enterModule(Number.POSITIVE_INFINITY)
    try {
      return run(index, -7, 2n ** 40n, 1.5)
    } catch (error) {
      return String(error)
    } finally {
      leaveModule(depth)
    }
  })
  const digest = createHash('sha256').update(new Uint8Array(memory.buffer)).digest('hex')
  return [results, calls, memory.buffer.byteLength, digest, i32.value, i64.value, String(f64.value)]
}

test('a random program does the same with and without', async () => {
  await fc.assert(
    fc.asyncProperty(programs, async (text) => {
      const bytes = await wat(text)
      const { bytes: stoppable, hookTable } = instrumented(bytes, STOPPABLE)
      assert.deepEqual(run(stoppable, hookTable), run(bytes))
    }),
    { numRuns: 300 }
  )
})

const FIXTURES = join(import.meta.dirname, '..', '..', '..', 'fixtures')
/** Those of the fixtures, and of a folder that the environment names. */
const modules = [FIXTURES, process.env.METERING_MODULES].flatMap((folder) =>
  folder === undefined
    ? []
    : readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.wasm') && !name.includes('node_modules'))
        .map((name) => join(folder, name))
)
for (const path of modules) {
  test(`${basename(path)} is valid with it, and has the same imports and exports`, () => {
    const bytes = readFileSync(path)
    const { bytes: stoppable, hookTable, start } = instrumented(bytes, STOPPABLE)
    const [before, after] = [new WebAssembly.Module(bytes), new WebAssembly.Module(stoppable)]
    assert.deepEqual(WebAssembly.Module.imports(after), WebAssembly.Module.imports(before))
    const own = [hookTable, start]
    assert.deepEqual(
      WebAssembly.Module.exports(after).filter(({ name }) => !own.includes(name)),
      WebAssembly.Module.exports(before)
    )
    if (bytes.length < 10_000) return
    const growth = stoppable.length / bytes.length - 1
    assert(growth < (bytes.length > 1_000_000 ? 0.03 : 0.16), `it is ${(growth * 100).toFixed(1)} % larger`)
  })
}

test('of ten thousand mutated modules no valid one is broken, no invalid one accepted, and there is one class of errors', async () => {
  const originals = ['hello-c/hello-c', 'hello-as/hello-as', 'hello-c-wasi/hello-c-wasi'].map((name) =>
    readFileSync(join(FIXTURES, `${name}.wasm`))
  )
  const mutations = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 })
  let [valid, invalid] = [0, 0]
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...originals), mutations, async (original, changes) => {
      const bytes = Buffer.from(original)
      for (const [at, value] of changes) bytes[8 + (at % (bytes.length - 8))] = value
      if (WebAssembly.validate(bytes)) {
        valid++
        try {
          assert(WebAssembly.validate(instrumented(bytes, STOPPABLE).bytes))
        } catch (error) {
          if (!(error instanceof Unsupported)) throw error
        }
        return
      }
      invalid++
      await assert.rejects(loadModule('mutated', bytes), { code: 'FST_WASM_MODULE_INVALID' })
    }),
    { numRuns: 10_000 }
  )
  assert(valid > 500 && invalid > 500, `${valid} valid, ${invalid} invalid`)
})
