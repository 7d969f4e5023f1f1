// What it costs that calls into a module can be stopped (limits.call_ms), beside modules that are compiled as they are
// (call_ms: 0). Both run in this process, in short slices by turns; what is printed are medians.
//
// npm run bench:metering
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModule } from '../lib/host/module.ts'
import { FakeStream } from '../test/host/fake-stream.ts'
import { type Host, startHost } from '../test/host/host.ts'
import { instrumented } from '../test/host/metering/instrumented.ts'
import { LOOPS, WHERE } from '../test/hostile.ts'
import { wat } from '../test/wat.ts'

const FIXTURES = join(import.meta.dirname, '..', 'fixtures')
const SLICE_MS = 100
const SLICES = 15
const MEBIBYTE = 1024 * 1024

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1]!
}

/** Nanoseconds of CPU that each of some actions takes. */
function measure(actions: readonly (() => void)[]): number[] {
  const results: number[][] = actions.map(() => [])
  for (let slice = -3; slice < SLICES; slice++) {
    for (const [i, action] of actions.entries()) {
      const end = performance.now() + SLICE_MS
      const before = process.cpuUsage()
      let count = 0
      while (performance.now() < end) {
        action()
        count++
      }
      const { user, system } = process.cpuUsage(before)
      // The first ones warm up.
      if (slice >= 0) results[i]!.push(((user + system) * 1000) / count)
    }
  }
  return results.map(median)
}

function print(title: string, head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i]!.length)))
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  process.stdout.write(`\n${title}\n\n${[head, ...rows].map(line).join('\n')}\n`)
}

const percent = (ratio: number) => `${ratio >= 1 ? '+' : '-'} ${Math.abs((ratio - 1) * 100).toFixed(1)} %`

function rewriting(): void {
  const rows: string[][] = []
  for (const path of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.wasm') || path.includes('node_modules')) continue
    const bytes = readFileSync(join(FIXTURES, path))
    const times: number[] = []
    let size = 0
    for (let i = 0; i < 5; i++) {
      const before = performance.now()
      size = instrumented(bytes, { stoppable: true, maxPages: 16_384 }).bytes.length
      times.push(performance.now() - before)
    }
    const first = times[0]!
    rows.push(
      [path, `${(bytes.length / MEBIBYTE).toFixed(3)} MiB`, percent(size / bytes.length)].concat(
        [first, median(times)].map((time) => `${time.toFixed(1)} ms`)
      )
    )
  }
  print('Rewriting a module', ['module', 'size', 'growth', 'first', 'median'], rows)
}

async function tightLoops(): Promise<void> {
  const functions = {
    'a sum': `(loop $l (local.set $s (i32.add (local.get $s) (local.get $i)))
      (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))`,
    'a scan of memory': `(loop $l
      (local.set $s (i32.add (local.get $s) (i32.load8_u (i32.and (local.get $i) (i32.const 0xffff)))))
      (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))`,
    xorshift: `(local.set $s (i32.const 1)) (loop $l
      (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 13))))
      (local.set $s (i32.xor (local.get $s) (i32.shr_u (local.get $s) (i32.const 17))))
      (local.set $s (i32.xor (local.get $s) (i32.shl (local.get $s) (i32.const 5))))
      (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))`,
    'a recursion': '(local.set $s (call $fib (i32.const 21)))'
  }
  const rows: string[][] = []
  for (const [name, body] of Object.entries(functions)) {
    const bytes = await wat(`(module
      (memory (export "memory") 1)
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (i32.const 1))
          (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
            (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $i i32) (local $s i32)
        (local.set $i (i32.const 20000))
        ${body}
        (i32.and (local.get $s) (i32.const 0))))`)
    const [plain, metered] = measure(await exchangesOf(bytes, {}))
    rows.push([
      name,
      `${(plain! / 1000).toFixed(1)} µs`,
      `${(metered! / 1000).toFixed(1)} µs`,
      `× ${(metered! / plain!).toFixed(2)}`
    ])
  }
  print('Tight loops', ['loop', 'as it is', 'stoppable', ''], rows)
}

/** An exchange through a filter: compiled as it is, and stoppable. */
async function exchangesOf(bytes: Uint8Array, options: object): Promise<(() => void)[]> {
  const hosts = await Promise.all(
    [false, true].map((stoppable) => startHost(bytes, { ...options, limits: { stoppable } }))
  )
  return hosts.map((host) => () => {
    const context = host.filter.open(new FakeStream(['user-agent', 'bench', 'accept', '*/*']))!
    context.requestHeaders(true)
    context.responseHeaders(true)
    context.end(false)
    host.log.lines.length = 0
  })
}

async function requests(): Promise<void> {
  const script = JSON.stringify({
    request_headers: [
      { op: 'get', map: 'request', name: 'user-agent' },
      { op: 'add', map: 'request', name: 'x-a', value: '1' }
    ],
    response_headers: [{ op: 'add', map: 'response', name: 'x-b', value: '2' }]
  })
  const filters: [string, string, object][] = [
    ['hello-c', 'C, one header each way', {}],
    ['log', 'Go, one line logged', { configuration: 'bench' }],
    ['script-go', 'Go, parses a script, three headers', { configuration: script }],
    ['script-rust/script-rust', 'Rust, the same script', { configuration: script }],
    ['script-as', 'AssemblyScript, the same script', { configuration: script }]
  ]
  const rows: string[][] = []
  for (const [path, what, options] of filters) {
    const [folder, name = folder] = path.split('/')
    const [plain, metered] = measure(await exchangesOf(readFileSync(join(FIXTURES, folder!, `${name}.wasm`)), options))
    rows.push([
      what,
      `${(plain! / 1000).toFixed(2)} µs`,
      `${(metered! / 1000).toFixed(2)} µs`,
      percent(metered! / plain!)
    ])
  }
  print('An exchange through one filter, the host alone', ['filter', 'as it is', 'stoppable', ''], rows)
}

async function stops(): Promise<void> {
  const bytes = readFileSync(join(FIXTURES, 'hostile', 'hostile.wasm'))
  await loadModule('warm', bytes)
  const rows: string[][] = []
  for (const [what, letter] of Object.entries(LOOPS)) {
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const host: Host = await startHost(bytes, {
        configuration: WHERE.request_headers + letter,
        limits: { callMs: 100 }
      })
      const context = host.open()
      const before = performance.now()
      context.requestHeaders(true)
      times.push(performance.now() - before)
    }
    rows.push([what, `${Math.min(...times).toFixed(1)} ms`, `${Math.max(...times).toFixed(1)} ms`])
  }
  print('Stopped, with a limit of 100 ms', ['what', 'min', 'max'], rows)
}

process.stdout.write(`Node ${process.version}, ${process.platform} ${process.arch}\n`)
rewriting()
await tightLoops()
await requests()
await stops()
