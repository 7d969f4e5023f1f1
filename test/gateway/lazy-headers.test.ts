import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { RequestHeaders } from '../../lib/gateway/request-headers.ts'
import { ResponseHeaders } from '../../lib/gateway/response-headers.ts'
import type { HeaderList } from '../../lib/host/index.ts'

// Headers answer by themselves as long as they can. Whatever is asked of them, and in whatever order: they say and do what
// those do that have made a list of all headers at once.

const name = fc.constantFrom(
  'x-a',
  'x-b',
  'accept',
  'cookie',
  'user-agent',
  'content-type',
  'set-cookie',
  'host',
  'te',
  'constructor'
)
const value = fc.constantFrom('1', '2', 'a, b', 'a; b', '', 'bad\nvalue')
const step = fc.oneof(
  fc.record({ op: fc.constantFrom('get', 'remove', 'hook removes'), name }),
  fc.record({ op: fc.constantFrom('add', 'add', 'replace', 'hook sets'), name, value }),
  fc.record({ op: fc.constantFrom('size', 'get :path', 'get :status', 'entries') })
)
type Step = { op: string; name?: string; value?: string }

/** What a hook of the application does to the headers. */
interface Hooks {
  set(name: string, value: string): void
  remove(name: string): void
}

/** What the steps answer, and what is there in the end. */
function run(headers: HeaderList, hooks: Hooks, atOnce: boolean, steps: readonly Step[]): unknown[] {
  if (atOnce) headers.entries()
  const answers = steps.map(({ op, name = '', value = '' }): unknown => {
    switch (op) {
      case 'get':
        return headers.get(name)
      case 'get :path':
        return headers.get(':path')
      case 'get :status':
        return headers.get(':status')
      case 'add':
        return headers.add(name, value)
      case 'replace':
        return headers.replace(name, value)
      case 'remove':
        return headers.remove(name)
      case 'size':
        return headers.size
      case 'entries':
        return byName(headers.entries())
      case 'hook sets':
        return hooks.set(name, value)
      default:
        return hooks.remove(name)
    }
  })
  return [...answers, headers.size, byName(headers.entries())]
}

/** The order of headers with different names means nothing. */
function byName(list: readonly string[]): Record<string, string[]> {
  const values: Record<string, string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    values[list[i]!] ??= []
    values[list[i]!]!.push(list[i + 1]!)
  }
  return values
}

/** A request as Node makes one, with `headers` grouped as its documentation says. */
function requestWith(pairs: readonly (readonly [string, string])[]): FastifyRequest {
  const headers: Record<string, string | string[]> = {}
  const all = [['Host', 'localhost'] as const, ...pairs]
  for (const [cased, value] of all) {
    const name = cased.toLowerCase()
    const present = headers[name]
    const isFirst = !Object.hasOwn(headers, name)
    if (name === 'set-cookie') headers[name] = [...((isFirst ? [] : present) as string[]), value]
    else if (isFirst) headers[name] = value
    else if (!['user-agent', 'content-type', 'host'].includes(name)) {
      headers[name] = `${present}${name === 'cookie' ? '; ' : ', '}${value}`
    }
  }
  const raw = { method: 'GET', url: '/path', rawHeaders: all.flat(), headers, httpVersionMajor: 1 }
  return { raw, protocol: 'http' } as unknown as FastifyRequest
}

test('request headers do the same whether their list is made at once or when it is needed', () => {
  const cased = fc.tuple(
    fc.constantFrom('X-A', 'x-b', 'Accept', 'Cookie', 'User-Agent', 'Set-Cookie'),
    fc.constantFrom('1', 'a, b', 'c')
  )
  fc.assert(
    fc.property(fc.array(cased, { maxLength: 5 }), fc.array(step, { maxLength: 12 }), (pairs, steps) => {
      const results = [false, true].map((atOnce) => {
        const request = requestWith(pairs)
        const headers = new RequestHeaders(request)
        const hooks: Hooks = {
          set(name, value) {
            if (value.includes('\n') || name === 'set-cookie') return
            request.raw.headers[name] = value
            headers.reconcile()
          },
          remove(name) {
            // Without a host there would be no `:authority`; and of an object every one has a `constructor`.
            if (name === 'host' || name === 'constructor') return
            delete request.raw.headers[name]
            headers.reconcile()
          }
        }
        const answers = run(headers, hooks, atOnce, steps)
        return { answers, headers: request.raw.headers }
      })
      assert.deepEqual(results[0], results[1])
    }),
    { numRuns: 3000 }
  )
})

test('response headers do the same whether their list is made at once or when it is needed', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  let steps: readonly Step[] = []
  let atOnce = false
  let onRaw = false
  let answers: unknown[] = []
  app.get('/', async () => 'hello')
  app.addHook('onSend', async (_request, reply: FastifyReply, payload) => {
    if (onRaw) reply.raw.setHeader('x-b', 'raw')
    reply.header('x-a', 'own')
    const headers = new ResponseHeaders(reply)
    headers.begin('hello')
    // What hooks do meanwhile is not for this response's filters any more.
    answers = run(headers, { set() {}, remove() {} }, atOnce, steps)
    return payload
  })
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 12 }), async (raw, sequence) => {
      onRaw = raw
      steps = sequence.filter((step) => !['content-type', 'te', 'host'].includes('name' in step ? step.name : ''))
      const results: unknown[] = []
      for (atOnce of [false, true]) {
        const { headers } = await app.inject('/')
        results.push({ answers, headers: { ...headers, date: undefined } })
      }
      assert.deepEqual(results[0], results[1])
    }),
    { numRuns: 1000 }
  )
})
