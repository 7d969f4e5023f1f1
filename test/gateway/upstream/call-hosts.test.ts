import assert from 'node:assert/strict'
import { isIPv4 } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { checkHosts } from '../../../lib/config/hosts.ts'
import { CallHosts } from '../../../lib/gateway/upstream/call-hosts.ts'
import { Upstream } from '../../../lib/gateway/upstream/upstream.ts'
import { Upstreams } from '../../../lib/gateway/upstream/upstreams.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'

type Scheme = 'http' | 'https'

/** Upstreams, with some of these ids, as a plugin with `hosts` finds them. */
function start(hosts: string[], ids: string[] = []) {
  const log = new RecordingLogger()
  const configured = new Map(ids.map((id) => [id, new Upstream({ id, nodes: { '127.0.0.1:1': 1 } }, log)]))
  const upstreams = new Upstreams((id) => configured.get(id), log)
  const calls = new CallHosts('a', hosts)
  const find = (name: string, scheme: Scheme = 'http') => upstreams.find(name, scheme, calls)
  return { log, configured, find, may: (name: string, scheme?: Scheme) => find(name, scheme) !== undefined }
}

for (const [host, allowed, refused] of [
  [
    'api.example',
    ['api.example', 'API.Example', 'api.example:80', 'api.example:8443'],
    ['x.api.example', 'api.example.', 'api', 'xapi.example', 'api.example.evil', 'api.example:0', 'api.example:65536']
  ],
  [
    'api.example:8443',
    ['api.example:8443', 'API.EXAMPLE:8443', 'api.example:08443'],
    ['api.example', 'api.example:80']
  ],
  ['API.Example', ['api.example'], ['api.example.']],
  ['api.example:80', ['api.example', 'api.example:80'], ['api.example:443']],
  ['api.example.', ['api.example.', 'api.example.:1'], ['api.example']],
  [
    '*.example.com',
    ['a.example.com', 'A.B.example.COM:1', 'x_y.example.com'],
    ['example.com', '.example.com', 'a..example.com', 'a.example.com.', 'xexample.com', 'a.example.com.evil']
  ],
  ['*.example.com:8443', ['a.example.com:8443'], ['a.example.com', 'example.com:8443']],
  [
    '10.0.0.1',
    ['10.0.0.1', '10.0.0.1:9', '[::ffff:10.0.0.1]', '[::ffff:a00:1]:9', '[10.0.0.1]'],
    ['10.0.0.2', '10.1', '167772161', '0xa000001', '012.0.0.1', '10.0.0.1.', '0xa.0.0.1', '10.0.1']
  ],
  ['10.0.0.1:80', ['10.0.0.1', '10.0.0.1:80'], ['10.0.0.1:81']],
  ['10.0.0.0/8', ['10.255.0.1', '10.0.0.1:9'], ['11.0.0.1', '10.1', 'a.10.0.0.1']],
  ['[fd00::1]', ['[fd00::1]', '[FD00:0::1]:9', '[fd00::0.0.0.1]'], ['fd00::1', '[fd00::2]', '[fd00::1']],
  ['[fd00::1]:80', ['[fd00::1]', '[fd00:0:0::1]:80'], ['[fd00::1]:81']],
  ['fd00::1', ['[fd00::1]:9'], ['[fd00::2]']],
  ['fd00::/8', ['[fd12::1]:9', '[fdff::]'], ['[fc00::1]', '[::1]']],
  ['localhost', ['localhost', 'LOCALHOST:1'], ['127.0.0.1', '[::1]', 'localhost.']]
] as const) {
  test(`${host} stands for ${allowed.length} ways to write what it is, and for nothing else`, () => {
    checkHosts([host], 'hosts', () => false)
    const { may } = start([host])
    for (const name of allowed) assert.equal(may(name), true, name)
    for (const name of refused) assert.equal(may(name), false, name)
    for (const name of [
      'evil.example',
      '127.0.0.1',
      '',
      '*',
      host.replace(/^.*?(?=\w)/, 'user@'),
      `${host}/`,
      `http://${host}`
    ]) {
      assert.equal(may(name), false, name)
    }
  })
}

test('the port of a bare host is that of the scheme', () => {
  const { may } = start(['api.example:443', 'plain.example:80'])
  assert.deepEqual([may('api.example', 'https'), may('api.example', 'http')], [true, false])
  assert.deepEqual([may('plain.example', 'https'), may('plain.example', 'http')], [false, true])
  assert.equal(may('api.example:443', 'http'), true)
})

test('an upstream is called when its own id is listed, whatever address it looks like', () => {
  const { find, may, configured } = start(
    ['auth', 'outbound|80||svc', '10.0.0.0/8', '*.example.com', 'b:80'],
    ['auth', 'outbound|80||svc', '10.0.0.7', 'a.example.com', 'b', 'other']
  )
  assert.equal(find('auth'), configured.get('auth'))
  assert.equal(find('outbound|80||svc'), configured.get('outbound|80||svc'))
  for (const name of [
    '10.0.0.7',
    'a.example.com',
    'b',
    'other',
    'AUTH',
    'Auth',
    'auth.',
    'auth:80',
    '[auth]',
    ' auth'
  ]) {
    assert.equal(may(name), false, name)
  }
  // These are no ids of upstreams.
  for (const name of ['10.0.0.8', '10.0.0.7:80', 'A.example.com', 'b:80']) {
    assert.equal(configured.has(name), false)
    assert.equal(may(name), true, name)
  }
})

test('an empty list allows nothing', () => {
  const { may } = start([], ['auth'])
  for (const name of ['auth', '127.0.0.1', 'example.com']) assert.equal(may(name), false, name)
})

test('each name that is refused is logged once, and not without end', () => {
  const { may, log } = start(['auth'], ['auth'])
  for (let i = 0; i < 3; i++) may('evil.example\n:80'.replace('\n', ''))
  may('no|address')
  assert.deepEqual(log.lines, [
    { level: 'warn', plugin: 'a', msg: 'the filter called "evil.example:80", which its `hosts` do not list' }
  ])
  for (let i = 0; i < 1000; i++) may(`${'x'.repeat(200)}.${i}.example`)
  assert.equal(may('x'.repeat(300)), false, 'no name of the DNS is so long')
  assert.equal(log.lines.length, 100)
  assert.ok(log.lines.every(({ msg }) => msg.length < 450))
  assert.match(log.messages().at(-1)!, /\(there are many: no others are logged\)$/)
})

for (const text of [
  'http://auth',
  'api.example/path',
  'user@api.example',
  'api.example:0',
  'api.example:99999',
  'api example',
  'api%2eexample',
  'outbound|80||svc',
  '*',
  '*.',
  '*.10',
  '*.0.0.1',
  '*.[::1]',
  'a.*.example',
  '127.1',
  '010.0.0.1',
  '0x7f.1',
  '[abc]',
  '[::1',
  'fe80::1%eth0',
  '10.0.0.0/33',
  '10.0.0.0/8:80',
  '.example',
  'a..b',
  ''
]) {
  test(`${JSON.stringify(text)} is refused as one of hosts, unless an upstream has it as its id`, () => {
    assert.throws(() => checkHosts(['auth', text], 'plugins.a.hosts', () => false), {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: `The configuration is invalid: plugins.a.hosts[1]: ${JSON.stringify(text)} is no host, host:port, *.domain, address or network, nor the id of an upstream`
    })
    checkHosts(['auth', text], 'plugins.a.hosts', (id) => id === text)
  })
}

const HOSTS = ['svc', 'plain.example', 'port.example:8080', '*.below.example', '10.0.0.0/8', '[fd00::1]:9000']

/** Whether the list above allows a target, by what undici and Node make of it when they connect. */
function isAllowed(hostname: string, port: number): boolean {
  const address = hostname.replace(/^\[|\]$/g, '')
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address)
  const first = mapped === null ? Number(address.split('.')[0]) : Number.parseInt(mapped[1]!, 16) >> 8
  if ((mapped !== null || isIPv4(address)) && first === 10) return true
  if (address === 'fd00::1') return port === 9000
  if (hostname === 'plain.example') return true
  if (hostname === 'port.example') return port === 8080
  return /^[^.]+(?:\.[^.]+)*\.below\.example$/.test(hostname)
}

test('no name leads to a server that is not listed', () => {
  const { find, configured } = start(HOSTS, ['svc', 'other'])
  const fragment = fc.constantFrom(
    ...[
      'svc',
      'other',
      'plain',
      'port',
      'below',
      'example',
      'evil',
      '10',
      '0',
      '1',
      '0xa',
      '012',
      '167772161',
      'fd00::1'
    ],
    ...[
      '::ffff:10.0.0.1',
      '::ffff:a00:1',
      '.',
      '.',
      '.',
      ':',
      ':80',
      ':8080',
      ':9000',
      ':0',
      '[',
      ']',
      '@',
      '/',
      '//',
      '\\'
    ],
    ...[
      '%2e',
      '%00',
      '\0',
      '\n',
      ' ',
      '#',
      '?',
      '*',
      '\u3002',
      '\u212a',
      '\uff45',
      '-',
      '_',
      '|',
      '127.0.0.1',
      '2130706433'
    ]
  )
  const near = fc
    .tuple(
      fc.constantFrom(...HOSTS, 'a.below.example', '10.1.2.3:80', 'plain.example:443'),
      fc.nat(),
      fragment,
      fc.nat(6)
    )
    .map(([text, at, piece, kind]) => {
      const i = at % (text.length + 1)
      if (kind === 0) return text.toUpperCase()
      if (kind === 1) return text.slice(0, i) + text.slice(i + 1)
      return `${text.slice(0, i)}${piece}${text.slice(i + (kind % 2))}`
    })
  const name = fc.oneof(
    near,
    fc.array(fragment, { maxLength: 8 }).map((pieces) => pieces.join('')),
    fc.string()
  )
  let found = 0
  fc.assert(
    fc.property(name, fc.constantFrom('http', 'https'), (text, scheme) => {
      const upstream = find(text, scheme)
      if (upstream === undefined) return
      found++
      if (upstream === configured.get('svc')) {
        assert.equal(text, 'svc')
        return
      }
      assert.notEqual(upstream, configured.get('other'))
      const { host, port } = upstream.pick([])!
      const url = new URL(`http://${host.includes(':') ? `[${host}]` : host}:${port}`)
      assert.ok(isAllowed(url.hostname, port), `${text} leads to ${url.hostname}:${port}`)
    }),
    { numRuns: 20_000 }
  )
  assert.ok(found > 500, `${found} of the names lead anywhere`)
})
