import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allowOnly, UseReport } from '../../lib/host/index.ts'
import { Guest } from './guest.ts'
import { startHost } from './host.ts'

const only = (...list: string[]) => allowOnly(list, 'plugins.a.allow')

test('a function that is not allowed answers Unimplemented, and is warned of once', async () => {
  const guest = new Guest()
  const log = guest.call('proxy_log', 2, guest.text('hello'))
  const set = guest.call('proxy_set_property', guest.text('a'), guest.text('b'))
  const again = guest.call('proxy_set_property', guest.text('a'), guest.text('b'))
  guest.on('proxy_on_request_headers', log, set, again)
  const host = await startHost(guest, { allow: only('proxy_log', 'proxy_get_*') })
  const context = host.open()
  context.requestHeaders(true)
  context.requestHeaders(true)
  assert.deepEqual(host.statuses(log, set, again), [0, 12, 12])
  const { lines } = context.stream.log as never as { lines: { level: string; msg: string; plugin: string }[] }
  assert.deepEqual(
    lines.map(({ level, msg, plugin }) => [level, msg, plugin]),
    [
      ['info', 'hello', 'test'],
      ['warn', 'the filter called env.proxy_set_property, which its `allow` does not list', 'test'],
      ['info', 'hello', 'test']
    ]
  )
})

for (const wasi of ['wasi_snapshot_preview1', 'wasi_unstable'] as const) {
  test(`a function of ${wasi} that is not allowed answers that there is none`, async () => {
    const guest = new Guest({ wasi })
    const cells = [guest.cell(8), guest.cell(8)] as const
    const random = guest.call('random_get', cells[0], 8)
    const clock = guest.call('clock_time_get', 0, 0n, cells[1])
    guest.on('_initialize', random, clock)
    const host = await startHost(guest, { allow: only('clock_time_get') })
    host.open()
    assert.deepEqual(host.statuses(random, clock), [52, 0])
    assert.equal(host.u64(cells[0]), 0xeeeeeeeeeeeeeeeen)
    assert.deepEqual(host.log.messages(), [`the filter called ${wasi}.random_get, which its \`allow\` does not list`])
  })
}

test('a module that may call nothing still has what its language is built on', async () => {
  for (const name of ['proc_exit', 'abort']) {
    const guest = new Guest()
    const args = name === 'abort' ? [0, 0, 1, 2] : [3]
    guest.on('proxy_on_configure', guest.callOf(name === 'abort' ? 'env' : 'wasi_unstable', name, ...args))
    const host = await startHost(guest, { allow: only() })
    assert.equal(host.plugin.startContext(Buffer.alloc(0)), undefined)
    const failure = host.log.lines.find(({ level }) => level === 'error')?.err?.message
    assert.match(failure ?? '', name === 'abort' ? /abort: {2}at :1:2$/ : /proc_exit\(3\)$/)
  }
})

test('what this host does not have at all is said to be that, whatever is allowed', async () => {
  const guest = new Guest()
  const call = guest.callOf('env', 'proxy_next', 1)
  const host = await startHost(guest.on('proxy_on_configure', call), { allow: only() })
  host.open()
  assert.equal(host.status(call), 12)
  assert.deepEqual(host.log.messages(), ['the filter called env.proxy_next, which this host does not have'])
})

test('callbacks are made, whatever host functions are allowed', async () => {
  const host = await startHost(new Guest().record('proxy_on_configure', 'proxy_on_request_headers'), { allow: only() })
  host.open().requestHeaders(true)
  assert.deepEqual(host.events(), ['configure(1, 0)', 'request_headers(2, 4, 1)'])
})

test('a report allows everything, and says of each function once that it is used', async () => {
  const guest = new Guest()
  const log = guest.call('proxy_log', 0, guest.text('hello'))
  const set = guest.call('proxy_set_property', guest.text('a'), guest.text('b'))
  const clock = guest.call('clock_res_get', 0, guest.cell(8))
  guest.on('proxy_on_configure', set).on('proxy_on_tick').on('proxy_on_request_headers', log, set, clock)
  const host = await startHost(guest, { allow: new UseReport() })
  for (let i = 0; i < 2; i++) host.open().requestHeaders(true)
  // Another instance of the same plugin has nothing new to say.
  host.instance.fail('the test', new Error('it ends'))
  host.open().requestHeaders(true)
  assert.deepEqual(host.statuses(log, set, clock), [0, 0, 0])
  assert.deepEqual(
    host.log.lines.filter(({ level }) => level === 'info'),
    [
      ['proxy_set_property', ['proxy_set_property']],
      ['proxy_log', ['proxy_log', 'proxy_set_property']],
      ['clock_res_get', ['clock_res_get', 'proxy_log', 'proxy_set_property']]
    ].map(([name, allow]) => ({ level: 'info', msg: `the filter uses ${name}`, plugin: 'test', allow }))
  )
})

test('a name that no host function has is refused, with what is near to it', () => {
  for (const [name, offer] of [
    ['proxy_htp_call', ' (did you mean proxy_http_call, proxy_grpc_call?)'],
    ['http_call', ' (did you mean proxy_http_call?)'],
    ['env.proxy_log', ' (did you mean proxy_log?)'],
    ['PROXY_LOG', ' (did you mean proxy_log?)'],
    ['fd_wite', ' (did you mean fd_write, fd_pwrite?)'],
    ['*_log', ''],
    ['proxy_on_tick', ''],
    ['toString', ''],
    ['', '']
  ] as const) {
    assert.throws(() => only('proxy_log', name), {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: `The configuration is invalid: plugins.a.allow[1]: there is no host function "${name}"${offer}`
    })
  }
  assert.throws(() => only('x_y_z', 'proxy_log', 'proxy_lag'), /allow\[0\]: .*; plugins\.a\.allow\[2\]: /)
})

test('it is warned of once, also when instances come and go', async () => {
  const guest = new Guest()
  const call = guest.callOf('env', 'proxy_next', 1)
  const host = await startHost(guest.on('proxy_on_context_create', call).on('proxy_on_request_headers', 'unreachable'))
  for (let i = 0; i < 2; i++) host.open().requestHeaders(true)
  assert.equal(host.plugin.status().failures, 2)
  assert.equal(host.log.messages('warn').filter((line) => line.includes('proxy_next')).length, 1)
})
