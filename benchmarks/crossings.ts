import { FakeStream } from '../test/host/fake-stream.ts'
import { Guest, type Step } from '../test/host/guest.ts'
import { startHost } from '../test/host/host.ts'
import { median, progress, type Table } from './report.ts'

const SLICE_MS = 60
const ROUNDS = 9
/** So often a host function is called in one callback. */
const TIMES = 200

/** Nanoseconds of each of some actions, measured by turns. */
function measure(actions: ReadonlyMap<string, () => void>): Map<string, number> {
  const times = new Map([...actions.keys()].map((name): [string, number[]] => [name, []]))
  for (let round = -2; round < ROUNDS; round++) {
    for (const [name, action] of actions) {
      progress(`crossings: ${name}`)
      const begin = performance.now()
      let count = 0
      while (performance.now() - begin < SLICE_MS) {
        action()
        count++
      }
      // The first rounds warm up.
      if (round >= 0) times.get(name)!.push(((performance.now() - begin) * 1e6) / count)
    }
  }
  return new Map([...times].map(([name, all]) => [name, median(all)]))
}

const HEADERS = ['user-agent', 'bench/1.0', 'accept', '*/*', 'x-a', 'one', 'x-b', 'two', 'x-c', 'three', 'x-d', 'four']

/** What each crossing between host and module costs: calls of host functions, and callbacks that do nothing. */
export async function crossings(): Promise<Table> {
  const functions: Record<string, (guest: Guest) => Step> = {
    proxy_get_current_time_nanoseconds: (guest) => guest.call('proxy_get_current_time_nanoseconds', guest.cell()),
    proxy_get_header_map_value: (guest) =>
      guest.call('proxy_get_header_map_value', 0, guest.text('user-agent'), guest.result()),
    'proxy_get_header_map_value, none': (guest) =>
      guest.call('proxy_get_header_map_value', 0, guest.text('x-none'), guest.result()),
    proxy_get_header_map_pairs: (guest) => guest.call('proxy_get_header_map_pairs', 0, guest.result()),
    proxy_replace_header_map_value: (guest) =>
      guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('1')),
    proxy_get_property: (guest) => guest.call('proxy_get_property', guest.text('plugin_name'), guest.result()),
    proxy_set_property: (guest) => guest.call('proxy_set_property', guest.text('a'), guest.text('1')),
    proxy_get_shared_data: (guest) =>
      guest.call('proxy_get_shared_data', guest.text('k'), guest.result(), guest.cell()),
    proxy_set_shared_data: (guest) => guest.call('proxy_set_shared_data', guest.text('k'), guest.text('v'), 0),
    proxy_get_log_level: (guest) => guest.call('proxy_get_log_level', guest.cell())
  }
  const actions = new Map<string, () => void>()
  for (const [name, call] of Object.entries(functions)) {
    const guest = new Guest({ extra: '(global $i (mut i32) (i32.const 0))' })
    const step = call(guest)
    const code = typeof step === 'string' ? step : step.wat
    guest.on(
      'proxy_on_request_headers',
      `(global.set $i (i32.const ${TIMES})) (loop $again ${code}
        (global.set $i (i32.sub (global.get $i) (i32.const 1))) (br_if $again (global.get $i)))`
    )
    const host = await startHost(guest)
    const context = host.open(new FakeStream([...HEADERS]))
    actions.set(name, () => void context.requestHeaders(true))
  }
  // It writes something, or it would not be called at all.
  const busy = new Guest()
  const cell = busy.cell()
  busy.on('proxy_on_request_headers', `(i32.store ${cell.wat} (i32.const 1))`)
  const host = await startHost(busy)
  const context = host.open(new FakeStream([...HEADERS]))
  actions.set('a callback', () => void context.requestHeaders(true))
  const idle = await startHost(new Guest())
  actions.set('an exchange whose callbacks do nothing', () => {
    const context = idle.filter.open(new FakeStream([...HEADERS]))!
    context.requestHeaders(true)
    context.responseHeaders(true)
    context.end(false)
  })
  const measured = measure(actions)
  const callback = measured.get('a callback')!
  const rows = [...measured].map(([name, nanoseconds]) => {
    const each = name in functions ? (nanoseconds - callback) / TIMES : nanoseconds
    return [name, `${Math.round(each)} ns`]
  })
  return { title: 'Crossings', head: ['', 'each'], rows }
}
