import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { PluginStatus } from '../../host/index.ts'
import { accessCheck } from '../admin/access.ts'
import { withoutQuery } from '../admin/admin-api.ts'
import { AdminError } from '../admin/admin-error.ts'
import type { Chain } from '../plans.ts'
import type { InspectorServices } from '../services.ts'
import { chainsSection } from './chains-section.ts'
import { latencySection } from './latency-section.ts'
import { LiveEvents, type Update } from './live-events.ts'
import { inspectorPage, loginPage, PAGE_HEADERS, refusalPage } from './page.ts'
import { pluginsSection } from './plugins-section.ts'
import type { Recorder } from './recorder.ts'
import { requestItem, requestsSection } from './requests-section.ts'
import { Sessions } from './sessions.ts'

/** Of the form in which the key is given. */
const MAX_BODY = 8 * 1024
/** Requests that a page is told of at once. */
const MAX_UPDATES = 25

/** What the inspector shows. */
export interface Inspected {
  readonly recorder: Recorder
  status(): PluginStatus[]
  chains(): Iterable<Chain>
}

/**
 * The page that shows what filters do: `GET {path}`, with `{path}/events` that tells it what changes. Who may see it is decided as
 * for the Admin API; in a browser the key is given once, in a form.
 *
 * @throws FST_WASM_OPTIONS_INVALID for an `allow_admin` that is none
 */
export function inspector(inspected: Inspected, options: InspectorServices): FastifyPluginAsync {
  const { recorder } = inspected
  const check = accessCheck(options, 'inspector')
  const sections = (now: number) => ({
    plugins: pluginsSection(inspected.status(), recorder, now),
    latency: latencySection(recorder.latencies, now)
  })
  const events = new LiveEvents(
    (since) => changesSince(recorder, since),
    () => Object.entries(sections(Date.now())).map(([section, { text }]) => ({ section, html: text }))
  )
  return async (app) => {
    const answerAll: FastifyPluginAsync = async (scope) => {
      // The application's may be one for other types, or for larger bodies.
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', { parseAs: 'string', bodyLimit: MAX_BODY }, (_request, body, done) =>
        done(null, body)
      )
      const path = scope.prefix
      const sessions = new Sessions(path)
      scope.addHook('onSend', async (_request, reply) => {
        reply.headers(PAGE_HEADERS)
      })
      scope.addHook('preClose', async () => events.close())
      scope.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
        const status = error.statusCode ?? 500
        return reply.code(status).send(status === 401 ? loginPage(path, undefined) : refusalPage(error.message))
      })
      const guarded = (request: FastifyRequest) => check(request, { isTrusted: sessions.has(request) })

      scope.get('/', async (request, reply) => {
        guarded(request)
        const { api_key: key, route } = request.query as { api_key?: unknown; route?: unknown }
        if (key !== undefined) {
          // It is not to stay in the browser's history.
          sessions.begin(request, reply)
          return reply.redirect(path, 303)
        }
        const search = typeof route === 'string' ? route : ''
        const parts = {
          ...sections(Date.now()),
          chains: chainsSection(inspected.chains(), search),
          requests: requestsSection(recorder.records)
        }
        return inspectorPage(path, parts, search, recorder.version)
      })

      // No HEAD: it would have no end, and nothing in it.
      scope.get('/events', { exposeHeadRoute: false }, async (request, reply) => {
        guarded(request)
        if (events.isFull) throw new AdminError(503, 'too many pages are open')
        const since = Number((request.query as { since?: string }).since)
        const isSession = sessions.has(request)
        const mayGoOn = () => !isSession || sessions.has(request)
        events.open(reply, since >= 0 ? since : recorder.version, mayGoOn)
        return reply
      })

      scope.post('/enter', async (request, reply) => {
        const key = new URLSearchParams(String(request.body ?? '')).get('key') ?? ''
        try {
          check(request, { key })
        } catch (error) {
          if ((error as AdminError).statusCode !== 401) throw error
          return reply.code(401).send(loginPage(path, 'This is not the key.'))
        }
        sessions.begin(request, reply)
        return reply.redirect(path, 303)
      })

      scope.post('/leave', async (request: FastifyRequest, reply: FastifyReply) => {
        sessions.end(request, reply)
        return reply.redirect(path, 303)
      })

      scope.setNotFoundHandler((_request, reply) => reply.code(404).send(refusalPage('There is no such page.')))
    }
    // Typed for texts; what pino takes is any value. And what it shows is no news for the log.
    const logging = { logSerializers: { req: withoutQuery as never }, logLevel: 'warn' as const }
    await app.register(answerAll, { prefix: options.path, ...logging })
  }
}

/** The oldest first, so that the newest comes to stand above all others. */
function changesSince(recorder: Recorder, since: number): { version: number; updates: Update[] } {
  const { version } = recorder
  if (version === since) return { version, updates: [] }
  const changed = recorder.records.filter((record) => record.version > since).slice(0, MAX_UPDATES)
  return {
    version,
    updates: changed.reverse().map((record) => ({ request: record.id, html: requestItem(record).text }))
  }
}
