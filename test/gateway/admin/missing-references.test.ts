import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { missingReference } from '../../../lib/config/plan.ts'
import { checkOptions, loadResources } from '../../../lib/config/resources.ts'
import { Plans } from '../../../lib/gateway/plans.ts'
import { Level, startUpstream } from '../../app.ts'
import { folder } from '../../folder.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'
import { request } from '../../http.ts'
import { say, scripted } from '../script.ts'
import { type Admin, expectStatus, startAdmin } from './admin.ts'

// What becomes of a route when ?force=true takes away what it refers to.

const logs = (text: string) => ({ a: { conf: { request_headers: [say(text)] } } })

function start(t: TestContext, file: string) {
  const global_rules = [{ id: 'g', plugins: { b: { conf: { request_headers: [say('global')] } } } }]
  const admin = { key: 'a key for tests', listen: { port: 0 } }
  return startAdmin(t, { admin, store: { file }, plugins: scripted('b', 'a'), global_rules })
}

async function declare(admin: Admin, node: string) {
  for (const [path, value] of Object.entries({
    '/upstreams/u': { nodes: { [node]: 1 } },
    '/services/s': { upstream_id: 'u' },
    '/plugin_configs/p': { plugins: logs('plugin_config') },
    '/routes/upstream': { uri: '/upstream', upstream_id: 'u', plugins: logs('route') },
    '/routes/service': { uri: '/service', service_id: 's', plugins: logs('route') },
    '/routes/config': { uri: '/config', plugin_config_id: 'p', upstream_id: 'u' }
  })) {
    await expectStatus(admin('PUT', path, value), 201)
  }
}

/** The status, the error, and which filters ran. */
type Answered = readonly [number, string, readonly string[]]

const noUpstream: Answered = [502, 'the upstream of the route is not there', ['global', 'route']]
const noService: Answered = [404, 'the service of the route is not there', ['global']]
const noConfig: Answered = [503, 'the plugin_config of the route is not there', ['global']]

const cases: { gone: string[]; answers: Record<string, Answered>; named: string[] }[] = [
  {
    gone: ['upstreams/u'],
    answers: {
      '/upstream': noUpstream,
      '/service': noUpstream,
      '/config': [502, noUpstream[1], ['global', 'plugin_config']]
    },
    // What is named when it is read again.
    named: ['routes/upstream', 'services/s', 'routes/config']
  },
  { gone: ['services/s'], answers: { '/service': noService }, named: ['routes/service'] },
  { gone: ['plugin_configs/p'], answers: { '/config': noConfig }, named: ['routes/config'] },
  {
    gone: ['plugin_configs/p', 'services/s', 'upstreams/u'],
    answers: { '/upstream': noUpstream, '/service': noService, '/config': noConfig },
    named: ['routes/upstream', 'routes/service', 'routes/config']
  }
]

for (const { gone, answers, named } of cases) {
  test(`a route answers that ${gone.join(' and ')} is not there, until it is again, and after a restart`, async (t) => {
    const { node } = await startUpstream(t, (app) => app.all('/*', async () => 'reached'))
    const file = join(await folder(t), 'store.json')
    let gateway = await start(t, file)
    const paths = Object.keys(answers)
    const check = async () => {
      for (const path of ['/upstream', '/service', '/config']) {
        const before = gateway.filterLog().length
        const response = await request(gateway.url + path, {
          method: 'POST',
          headers: { 'content-type': 'text/plain' },
          body: 'body'
        })
        const answer = answers[path]
        if (answer === undefined) {
          assert.equal(response.text, 'reached')
          continue
        }
        const [status, error, ran] = answer
        assert.deepEqual([response.status, JSON.parse(response.text)], [status, { error_msg: error }], path)
        assert.deepEqual(gateway.filterLog().slice(before), ran)
        const { msg } = gateway.lines.findLast(({ level }) => level === Level.error)!
        assert.match(msg, /^the route refers to the (service|plugin_config|upstream) \[[spu]\], which is not there$/)
      }
    }
    await declare(gateway.admin, node)
    const before = await Promise.all(gone.map((path) => expectStatus(gateway.admin('GET', `/${path}`), 200)))
    for (const path of gone) {
      const { error_msg } = await expectStatus(gateway.admin('DELETE', `/${path}`), 400)
      assert.match(error_msg, /is still using it now$/)
      await expectStatus(gateway.admin('DELETE', `/${path}?force=true`), 200)
    }
    await check()
    // A change of something else, and reading everything again, leave that as it is.
    await expectStatus(gateway.admin('PUT', '/routes/other', { uri: '/other', upstream: { nodes: {} } }), 201)
    await expectStatus(gateway.admin('PUT', '/plugins/reload'), 200)
    await check()
    // The next change of the object itself must be right.
    for (const path of named) {
      const { error_msg } = await expectStatus(gateway.admin('PATCH', `/${path}`, { name: 'new' }), 400)
      assert.match(error_msg, /^failed to fetch .* response code: 404$/)
    }
    await gateway.app.close()

    gateway = await start(t, file)
    const lines = gateway.lines.filter(({ level }) => level === Level.error).map(({ msg }) => msg)
    for (const path of named) {
      const text = `the stored object ${path} refers to what is not there: ${path.replace('/', '.')}.`
      assert.ok(lines.some((msg) => msg.startsWith(text)))
    }
    await check()
    for (const [i, path] of [...gone.entries()].reverse()) {
      const { id, create_time, update_time, ...value } = before[i]!.value
      await expectStatus(gateway.admin('PUT', `/${path}`, value), 201)
    }
    for (const path of paths) assert.equal((await request(gateway.url + path)).text, 'reached', path)
  })
}

test('what a route of the application refers to is not deleted, whatever is forced', async (t) => {
  const file = join(await folder(t), 'store.json')
  const { node } = await startUpstream(t, (app) => app.get('/*', async () => 'reached'))
  const first = await start(t, file)
  await declare(first.admin, node)
  await first.app.close()
  const admin = { key: 'a key for tests', listen: { port: 0 } }
  const gateway = await startAdmin(t, { admin, store: { file }, plugins: scripted('b', 'a') }, (app) => {
    app.get('/own', { config: { wasm: { service_id: 's' } }, handler: app.wasmGateway.proxy })
  })
  const { error_msg } = await expectStatus(gateway.admin('DELETE', '/services/s?force=true'), 400)
  assert.match(
    error_msg,
    /^can not delete this service directly, a route of the application \(\/own: config\.wasm\.service_id: .*\) is still using it now$/
  )
  await expectStatus(gateway.admin('GET', '/services/s'), 200)
  for (const path of ['/own', '/service']) assert.equal((await request(gateway.url + path)).text, 'reached')
})

test('a reload that takes away what a stored route refers to is refused, and names the route', async (t) => {
  const { node } = await startUpstream(t, (app) => app.get('/*', async () => 'reached'))
  const { admin, app, url } = await startAdmin(t, { upstreams: [{ id: 'u', nodes: { [node]: 1 } }] })
  await expectStatus(admin('PUT', '/routes/1', { uri: '/a', upstream_id: 'u' }), 201)
  await assert.rejects(app.wasmGateway.reload({}), {
    code: 'FST_WASM_REFERENCE_UNKNOWN',
    message: 'routes.1.upstream_id: there is no upstream with the id [u]'
  })
  assert.equal((await request(`${url}/a`)).text, 'reached')
})

test('of several objects that are missing the one counts that a request would need first', async () => {
  const resources = loadResources(checkOptions({ services: [{ id: 's', plugins: {} }] }), [])
  const missing = (route: object) => missingReference(resources, route)?.kind
  assert.equal(missing({ service_id: 'x', plugin_config_id: 'x', upstream_id: 'x' }), 'service')
  assert.equal(missing({ service_id: 's', plugin_config_id: 'x', upstream_id: 'x' }), 'plugin_config')
  assert.equal(missing({ service_id: 's', upstream_id: 'x' }), 'upstream')
  assert.equal(missing({ service_id: 's', upstream: { nodes: {} } }), undefined)
  assert.equal(missing({ service_id: 's' }), undefined)
})

test('a change cannot fail any more when a route of the application has come to need what it takes away', async () => {
  const plans = new Plans(new RecordingLogger())
  const resources = loadResources(checkOptions({ services: [{ id: 's', plugins: {} }] }), [])
  plans.prepare(resources, new Map(), () => 0)()
  const commit = plans.prepare(loadResources(checkOptions({}), []), new Map(), () => 0)
  const config = { url: '/own', wasm: { service_id: 's' } }
  assert.ok(plans.of(config))
  commit()
  assert.throws(() => plans.of(config), { code: 'FST_WASM_REFERENCE_UNKNOWN' })
})
