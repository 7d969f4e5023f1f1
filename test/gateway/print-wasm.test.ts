import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway from '../../lib/index.ts'
import { fixture } from '../app.ts'
import { KEY, startAdmin } from './admin/admin.ts'

const file = fixture('log')
const conf = 'x'

async function printed(options: object, declare: (app: ReturnType<typeof Fastify>) => void = () => {}) {
  const app = Fastify()
  await app.register(wasmGateway, options)
  declare(app)
  await app.ready()
  const text = app.wasmGateway.printWasm()
  await app.close()
  return text
}

test('without filters and routes there is nothing to print', async () => {
  assert.equal(await printed({}, (app) => app.get('/', async () => '')), '')
})

test('routes of the application, of the gateway and the global rules are printed with their filters', async () => {
  const text = await printed(
    {
      plugins: [
        { name: 'log', file, priority: 7999, http_request_phase: 'rewrite' },
        { name: 'auth', file, priority: 100 },
        { name: 'optional', file, priority: 8, fail: 'open' },
        { name: 'last', file, priority: 9000, http_request_phase: 'rewrite' }
      ],
      global_rules: [{ id: 'all', plugins: { log: { conf } } }],
      services: [{ id: 'shop', plugins: { auth: { conf } }, upstream_id: 'backend' }],
      plugin_configs: [{ id: 'common', plugins: { optional: { conf, _meta: { filter: [['arg_a', '==', 'b']] } } } }],
      upstreams: [{ id: 'backend', nodes: { '127.0.0.1:1': 1 } }],
      routes: [
        {
          id: 1,
          uri: '/file/*',
          methods: ['GET', 'POST'],
          host: '*.test',
          service_id: 'shop',
          plugins: { optional: { conf } }
        },
        { id: 2, uris: ['/a', '/b'], status: 0, upstream: { nodes: { '10.0.0.1:80': 1, '10.0.0.2': 1 } } }
      ]
    },
    (app) => {
      app.get('/plain', async () => '')
      app.get(
        '/',
        {
          config: {
            wasm: { plugins: { auth: { conf, _meta: { priority: 3 } }, last: { conf } }, plugin_config_id: 'common' }
          }
        },
        async () => ''
      )
      app.all('/shop/*', { config: { wasm: { service_id: 'shop' } } }, app.wasmGateway.proxy)
    }
  )
  assert.equal(
    text,
    `global rules
└── log  rewrite  7999  global_rules.all

/plain (GET, HEAD)
└── log  rewrite  7999  global_rules.all

/ (GET, HEAD)
├── log       rewrite  7999  global_rules.all
├── last      rewrite  9000  config.wasm
├── optional  access      8  plugin_configs.common  for some requests (_meta.filter)  fails open
└── auth      access      3  config.wasm

/shop/* (${ALL.join(', ')}) → backend
├── log   rewrite  7999  global_rules.all
└── auth  access    100  services.shop

/file/* (GET, POST) on *.test [routes.1] → backend
├── log       rewrite  7999  global_rules.all
├── auth      access    100  services.shop
└── optional  access      8  routes.1          fails open

/a, /b [routes.2] switched off → 10.0.0.1:80, 10.0.0.2:80
└── log  rewrite  7999  global_rules.all
`
  )
})

test('where responses pass the filters in another order, that is printed too', async () => {
  const text = await printed(
    {
      plugins: [
        { name: 'high', file, priority: 2 },
        { name: 'early', file, priority: 1, http_request_phase: 'rewrite' }
      ]
    },
    (app) => app.post('/', { config: { wasm: { plugins: { high: { conf }, early: { conf } } } } }, async () => '')
  )
  assert.equal(
    text,
    `/ (POST)
├── early  rewrite  1  config.wasm
├── high   access   2  config.wasm
└── responses: high, early
`
  )
})

test('what the Admin API has written is printed at once; what it took away is said', async (t) => {
  const { app, admin } = await startAdmin(t, {
    admin: { key: KEY, listen: { port: 0 } },
    plugins: [{ name: 'log', file }]
  })
  await admin('PUT', '/services/s', { plugins: { log: { conf } } })
  await admin('PUT', '/routes/r', { uri: '/r', service_id: 's' })
  assert.equal(app.wasmGateway.printWasm(), '/r [routes.r] → no upstream\n└── log  access  0  services.s\n')
  await admin('DELETE', '/services/s?force=true')
  assert.equal(app.wasmGateway.printWasm(), '/r [routes.r] → the service s is not there\n└── no filter\n')
})

/** What `app.all` declares. */
const ALL = (() => {
  const methods: string[] = []
  const app = Fastify()
  app.addHook('onRoute', ({ method }) => void methods.push(...[method].flat()))
  app.all('/', async () => '')
  return [...new Set(methods)]
})()
