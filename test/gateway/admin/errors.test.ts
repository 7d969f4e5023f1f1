import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture } from '../../app.ts'
import { type AdminApp, expectStatus, startAdmin } from './admin.ts'

// The table of errors. None of these requests changes anything.

const upstream = { nodes: { '127.0.0.1:1980': 1 } }
const route = { uri: '/hello', upstream }
const withPlugin = (entry: unknown) => ({ ...route, plugins: { wasm_log: entry } })
const schemaMatchesNone =
  'failed to check the configuration of plugin wasm_log err: ' +
  'property "conf" validation failed: value should match only one schema, but matches none'
const ID = 'is not 1 to 64 of a-z A-Z 0-9 - _ .'
const TOO_MANY = 'Found too many nested data structures (1001)'
const nested = (depth: number, open = '[', close = ']') => open.repeat(depth) + close.repeat(depth)

type Row = [request: string, body: unknown, status: number, error: string | RegExp]

const rows: Record<string, Row[]> = {
  'what is not there': [
    ['GET /routes/9', undefined, 404, 'Key not found'],
    ['PATCH /routes/9', { uri: '/a' }, 404, 'Key not found'],
    ['PATCH /routes/9/uri', '"/a"', 404, 'Key not found'],
    ['DELETE /routes/9', undefined, 404, 'Key not found'],
    ['DELETE /upstreams/9?force=true', undefined, 404, 'Key not found'],
    ['GET /routes/__proto__', undefined, 404, 'Key not found'],
    ['GET /routes/constructor', undefined, 404, 'Key not found'],
    ['GET /xyz', undefined, 404, 'Unsupported resource type: xyz'],
    ['PUT /consumers/1', {}, 404, 'Unsupported resource type: consumers'],
    ['GET /__proto__', undefined, 404, 'Unsupported resource type: __proto__'],
    ['GET /', undefined, 404, 'Unsupported resource type: '],
    ['GET /schema/xyz', undefined, 400, 'not found schema: xyz'],
    ['GET /schema', undefined, 400, 'not found schema: '],
    ['GET /schema/plugins/xyz', undefined, 404, 'plugin not found in subsystem http'],
    ['GET /schema/plugins', undefined, 404, 'plugin not found in subsystem http'],
    ['GET /plugins/constructor', undefined, 404, 'plugin not found in subsystem http'],
    ['GET /plugins', undefined, 404, 'not found']
  ],
  'methods that there are not': [
    ['OPTIONS /routes', undefined, 404, 'not found'],
    ['TRACE /routes', undefined, 404, 'not found'],
    ['PURGE /routes/1', undefined, 404, 'not found'],
    ['PUT /schema/route', {}, 404, 'not found'],
    ['POST /plugins/reload', undefined, 404, 'not found'],
    ['DELETE /plugins/list', undefined, 404, 'not found'],
    ['POST /global_rules', { plugins: {} }, 405, 'not supported `POST` method for global rule'],
    ['POST /plugin_configs', { plugins: {} }, 405, 'not supported `POST` method for plugin config'],
    // Only PATCH looks inside of an object.
    ['GET /routes/1/uri', undefined, 404, 'not found'],
    ['PUT /routes/1/uri', '"/a"', 404, 'not found'],
    ['DELETE /routes/1/plugins', undefined, 404, 'not found']
  ],
  ids: [
    ['PUT /routes', route, 400, 'missing route id'],
    ['PUT /plugin_configs/', { plugins: {} }, 400, 'missing plugin config id'],
    ['PATCH /services', {}, 400, 'missing service id'],
    ['DELETE /upstreams', undefined, 400, 'missing upstream id'],
    ['PUT /routes/1', { ...route, id: 2 }, 400, 'wrong route id'],
    ['PUT /global_rules/1', { plugins: {}, id: '01' }, 400, 'wrong global rule id'],
    ['PATCH /routes/1', { id: '2' }, 400, 'wrong route id'],
    ['PATCH /routes/1', { id: null }, 400, 'wrong route id'],
    ['PATCH /routes/1/id', '"2"', 400, 'wrong route id'],
    ['POST /routes', { ...route, id: 2 }, 400, 'wrong route id, do not need it'],
    ['POST /routes/2', route, 400, 'wrong route id, do not need it'],
    ['PUT /routes/a%20b', route, 400, `invalid configuration: id: "a b" ${ID}`],
    [`PUT /services/${'x'.repeat(65)}`, { upstream }, 400, `invalid configuration: id: "${'x'.repeat(65)}" ${ID}`],
    ['PUT /routes/%D1%84', route, 400, `invalid configuration: id: "ф" ${ID}`],
    ['PUT /routes', { ...route, id: '' }, 400, `invalid configuration: id: "" ${ID}`],
    ['PUT /routes', { ...route, id: 1.5 }, 400, /^invalid configuration: id: must be a string or a whole number/],
    ['PUT /routes', { ...route, id: 0 }, 400, /^invalid configuration: id: must be/],
    ['PUT /routes', { ...route, id: null }, 400, /^invalid configuration: id: must be/],
    ['PUT /routes/1', { ...route, id: ['1'] }, 400, /^invalid configuration: id: must be/],
    ['PUT /upstreams', { ...upstream, id: '' }, 400, /^invalid configuration: id: must not have fewer than 1/],
    ['PUT /routes/%zz', route, 400, /is not a valid url component/],
    ['PUT /routes/%C3', route, 400, /is not a valid url component/]
  ],
  bodies: [
    ['PUT /routes/1', undefined, 400, 'missing configurations'],
    ['POST /routes', '', 400, 'missing configurations'],
    ['PATCH /routes/1', undefined, 400, 'missing new configuration'],
    ['PATCH /routes/1/uri', undefined, 400, 'missing new configuration'],
    ['PUT /routes/1', '{"uri": "/hello"', 400, /^invalid request body: /],
    ['PUT /routes/1', ' ', 400, /^invalid request body: /],
    ['PUT /routes/1', '{"uri": "/a\nb"}', 400, /^invalid request body: /],
    ['PATCH /routes/1', 'uri=/a', 400, /^invalid request body: /],
    ['PUT /routes/1', Buffer.from('7b2275ff22', 'hex'), 400, /^invalid request body: .*utf-8/],
    ['PUT /routes/1', '{"__proto__": {"uri": "/a"}}', 400, 'invalid request body: no key may be named "__proto__"'],
    ['PATCH /routes/1', '{"labels": {"__proto__": "x"}}', 400, 'invalid request body: no key may be named "__proto__"'],
    ['PATCH /routes/1/labels/__proto__', '"x"', 400, 'no key may be named "__proto__"'],
    ['PUT /routes/1', nested(1001), 400, `invalid request body: ${TOO_MANY}`],
    ['PUT /routes/1', nested(700_000), 400, `invalid request body: ${TOO_MANY}`],
    ['PATCH /routes/1', `{"a":${nested(1000)}}`, 400, `invalid request body: ${TOO_MANY}`],
    [`PATCH /routes/1/labels${'/a'.repeat(1000)}`, '1', 400, TOO_MANY],
    ['PUT /routes/1', '[]', 400, 'invalid configuration: an object is wanted'],
    ['PUT /routes/1', '1', 400, 'invalid configuration: an object is wanted'],
    ['PUT /routes/1', 'null', 400, 'invalid configuration: an object is wanted'],
    ['PUT /routes/1', nested(1000), 400, 'invalid configuration: an object is wanted'],
    ['PATCH /routes/1', '"/a"', 400, 'invalid configuration: an object is wanted'],
    ['PUT /routes/1', ' '.repeat(1.5 * 1024 * 1024 + 1), 413, 'Request body is too large'],
    ['PATCH /routes/1', 'x'.repeat(5 * 1024 * 1024), 413, 'Request body is too large']
  ],
  fields: [
    ['PUT /routes/1', { ...route, create_time: 1 }, 400, 'the property is forbidden:  create_time'],
    [
      'POST /routes',
      { ...route, update_time: 1, create_time: 1 },
      400,
      'the property is forbidden:  create_time update_time'
    ],
    ['PATCH /routes/1', { update_time: 1 }, 400, 'the property is forbidden:  update_time'],
    ['PATCH /routes/1/create_time', '1', 400, 'the property is forbidden:  create_time'],
    ['PUT /routes/1?ttl=5', route, 400, /^ttl is not supported/],
    ['PATCH /routes/1?ttl=5', { uri: '/a' }, 400, /^ttl is not supported/],
    ['PUT /routes/1', {}, 400, /^invalid configuration: .*property "uri" is required/],
    ['PUT /routes/1', { uri: '/a' }, 400, /^invalid configuration: .*one of plugins, upstream, upstream_id and/],
    ['PUT /routes/1', { ...route, uri: 1 }, 400, /^invalid configuration: uri: must be string/],
    ['PUT /routes/1', { ...route, uri: 'a' }, 400, /^invalid configuration: .*must begin with \//],
    ['PUT /routes/1', { ...route, uris: ['/a'] }, 400, /^invalid configuration: .*only one of uri or uris is allowed/],
    ['PUT /routes/1', { ...route, host: 'a', hosts: ['b'] }, 400, 'only one of host or hosts is allowed'],
    [
      'PUT /routes/1',
      { ...route, remote_addr: '::1', remote_addrs: ['::1'] },
      400,
      'only one of remote_addr or remote_addrs is allowed'
    ],
    ['PUT /routes/1', { ...route, nothing: 1 }, 400, 'invalid configuration: nothing: is no known key'],
    ['PUT /routes/1', { ...route, constructor: 1 }, 400, 'invalid configuration: constructor: is no known key'],
    ['PUT /routes/1', { ...route, methods: ['EAT'] }, 400, /^invalid configuration: methods\[0\]: must be one of GET/],
    ['PUT /routes/1', { ...route, vars: [['a', 'is', 1]] }, 400, /^invalid configuration: .*vars.*"is" is no operator/],
    ['PUT /routes/1', { ...route, upstream_id: 'u' }, 400, /^invalid configuration: .*only one of upstream and/],
    ['PUT /upstreams/1', {}, 400, 'invalid configuration: property "nodes" is required'],
    ['PUT /upstreams/1', { nodes: { 'a b': 1 } }, 400, /^invalid configuration: .*"a b" is no host:port/],
    ['PUT /services/1', { upstream: { nodes: 1 } }, 400, /^invalid configuration: /],
    ['PUT /plugin_configs/1', {}, 400, 'invalid configuration: property "plugins" is required'],
    ['PUT /plugin_configs/1', { plugins: [] }, 400, /^invalid configuration: plugins: must be object/],
    ['PUT /global_rules/1', { plugins: 'x' }, 400, /^invalid configuration: plugins: must be object/]
  ],
  plugins: [
    ['PUT /routes/1', { ...route, plugins: { xyz: { conf: 'a' } } }, 400, 'unknown plugin [xyz]'],
    ['PUT /services/1', { plugins: { constructor: { conf: 'a' } } }, 400, 'unknown plugin [constructor]'],
    ['PATCH /routes/1', { plugins: { xyz: { conf: 'a' } } }, 400, 'unknown plugin [xyz]'],
    ['PUT /global_rules/1', { plugins: { wasm_log: 'a' } }, 400, 'invalid plugin conf "a" for plugin [wasm_log]'],
    ['PUT /routes/1', withPlugin([1]), 400, 'invalid plugin conf [1] for plugin [wasm_log]'],
    [
      'PUT /routes/1',
      withPlugin({}),
      400,
      'failed to check the configuration of plugin wasm_log err: property "conf" is required'
    ],
    [
      'PUT /routes/1',
      withPlugin({ setting: 'a' }),
      400,
      'failed to check the configuration of plugin wasm_log err: property "conf" is required'
    ],
    ['PUT /routes/1', withPlugin({ conf: '' }), 400, schemaMatchesNone],
    ['PUT /routes/1', withPlugin({ conf: {} }), 400, schemaMatchesNone],
    ['PUT /routes/1', withPlugin({ conf: 123 }), 400, schemaMatchesNone],
    ['PUT /routes/1', withPlugin({ conf: ['a'] }), 400, schemaMatchesNone],
    ['PUT /routes/1', withPlugin({ conf: null }), 400, schemaMatchesNone],
    ['PATCH /routes/1/plugins/wasm_log/conf', '{}', 400, schemaMatchesNone],
    [
      'PUT /routes/1',
      withPlugin({ conf: 'a', more: 1 }),
      400,
      /^invalid configuration: .*wasm_log.more: is no known key/
    ],
    ['PUT /routes/1', withPlugin({ conf: 'a', _meta: { prio: 1 } }), 400, /^invalid configuration: .*_meta.prio/],
    ['PUT /routes/1', withPlugin({ conf: 'a', _meta: { filter: 1 } }), 400, /^invalid configuration: .*_meta.filter/],
    [
      'PUT /global_rules/2',
      { plugins: { wasm_log: { conf: 'a' } } },
      400,
      "plugin 'wasm_log' already exists in global rule with id 'g'"
    ]
  ],
  references: [
    [
      'PUT /routes/1',
      { uri: '/a', upstream_id: 'x' },
      400,
      'failed to fetch upstream info by upstream id [x], response code: 404'
    ],
    [
      'PUT /services/1',
      { upstream_id: 7 },
      400,
      'failed to fetch upstream info by upstream id [7], response code: 404'
    ],
    [
      'POST /routes',
      { uri: '/a', service_id: 'x' },
      400,
      'failed to fetch service info by service id [x], response code: 404'
    ],
    [
      'PATCH /routes/1',
      { plugin_config_id: 'x' },
      400,
      'failed to fetch plugin config info by plugin config id [x], response code: 404'
    ],
    ['DELETE /upstreams/u', undefined, 400, 'can not delete this upstream, route [1] is still using it now'],
    ['DELETE /upstreams/2', undefined, 400, 'can not delete this upstream, service [s] is still using it now'],
    ['DELETE /services/s', undefined, 400, 'can not delete this service directly, route [2] is still using it now'],
    ['DELETE /plugin_configs/p', undefined, 400, 'can not delete this plugin config, route [2] is still using it now'],
    ['DELETE /upstreams/u?force=1', undefined, 400, /is still using it now$/]
  ],
  'what is declared elsewhere': [
    [
      'PUT /upstreams/declared',
      upstream,
      400,
      /^upstream \[declared\] is declared in the configuration file or in the opt/
    ],
    ['PATCH /upstreams/declared', { desc: 'x' }, 400, /is declared in the configuration file or in the options/],
    ['DELETE /upstreams/declared', undefined, 400, /is declared in the configuration file or in the options/],
    ['DELETE /upstreams/declared?force=true', undefined, 400, /is declared in the configuration file or in the opt/]
  ],
  pages: [
    ['GET /routes?page_size=9', undefined, 400, 'page_size must be between 10 and 500'],
    ['GET /routes?page=1&page_size=501', undefined, 400, 'page_size must be between 10 and 500'],
    ['GET /routes?page_size=1e1', undefined, 400, 'page_size must be between 10 and 500'],
    ['GET /routes?page=0', undefined, 400, 'page must be a whole number from 1'],
    ['GET /routes?page=-1', undefined, 400, 'page must be a whole number from 1'],
    ['GET /routes?page=x', undefined, 400, 'page must be a whole number from 1'],
    ['GET /routes?uri=(', undefined, 400, /^uri is no regular expression: /],
    ['GET /routes?uri=%5E%2F(a%2B)%2B%24', undefined, 400, 'uri is a regular expression that takes too long']
  ]
}

async function start(t: TestContext): Promise<AdminApp> {
  const app = await startAdmin(t, {
    plugins: [{ name: 'wasm_log', file: fixture('log') }],
    upstreams: [{ id: 'declared', ...upstream }]
  })
  for (const [path, value] of [
    ['/upstreams/u', upstream],
    ['/upstreams/2', upstream],
    ['/services/s', { upstream_id: 2 }],
    ['/plugin_configs/p', { plugins: { wasm_log: { conf: 'p' } } }],
    ['/global_rules/g', { plugins: { wasm_log: { conf: 'g' } } }],
    ['/routes/1', { uri: '/1', upstream_id: 'u', plugins: { wasm_log: { conf: 'r' } } }],
    ['/routes/2', { uri: `/${'a'.repeat(100)}!`, service_id: 's', plugin_config_id: 'p' }]
  ] as const) {
    await expectStatus(app.admin('PUT', path, value), 201)
  }
  return app
}

for (const [group, requests] of Object.entries(rows)) {
  test(`errors: ${group}`, async (t) => {
    const { admin } = await start(t)
    const all = async () => {
      const kinds = ['routes', 'services', 'upstreams', 'plugin_configs', 'global_rules']
      return Promise.all(kinds.map((kind) => expectStatus(admin('GET', `/${kind}`), 200)))
    }
    const before = await all()
    for (const [request, body, status, error] of requests) {
      const name = `${request.slice(0, 80)} ${String(JSON.stringify(body)).slice(0, 80)}`
      await t.test(name, async () => {
        const [method = '', path = ''] = request.split(' ')
        const answer = await admin(method, path, body)
        assert.equal(answer.status, status, JSON.stringify(answer.body).slice(0, 500))
        assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
        const { error_msg, message, req_body, ...rest } = answer.body
        assert.deepEqual(rest, {}, 'nothing else is told')
        // The one answer whose text has another name in APISIX.
        const text = error === 'Key not found' ? message : error_msg
        if (typeof error === 'string') assert.equal(text, error)
        else assert.match(text, error)
        assert.doesNotMatch(text, /<html|at .*\.[jt]s:\d/)
        assert.equal(req_body !== undefined, /^invalid request body/.test(text))
        assert.deepEqual(await all(), before, 'nothing has changed')
      })
    }
  })
}

test('a body that cannot be read is shown with the error', async (t) => {
  const { admin } = await start(t)
  const body = await expectStatus(admin('PUT', '/routes/1', '{"uri": '), 400)
  assert.equal(body.req_body, '{"uri": ')
})

test('HEAD is none of the methods, and has no body', async (t) => {
  const { admin } = await start(t)
  const { status, body } = await admin('HEAD', '/routes')
  assert.deepEqual([status, body], [404, ''])
})

test('what is not below the prefix is not found, with a listener of its own', async (t) => {
  const { adminUrl } = await start(t)
  const response = await fetch(adminUrl.replace('/apisix/admin', '/other'))
  assert.deepEqual([response.status, await response.json()], [404, { error_msg: 'not found' }])
})
