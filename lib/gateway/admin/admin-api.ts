import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { type Admin, PluginEntry } from '../../config/schema.ts'
import { FST_WASM_STORE_FAILED } from '../../errors.ts'
import { RESOURCE_KINDS, type ResourceKind } from '../../stores/resource-store.ts'
import { accessCheck } from './access.ts'
import { AdminError } from './admin-error.ts'
import { invalidConfiguration, SCHEMAS } from './checks.ts'
import { type Answer, ResourceRequests } from './resource-requests.ts'
import type { AdminTarget } from './target.ts'

const DEFAULT_PREFIX = '/apisix/admin'
/** APISIX's */
const MAX_BODY = 1.5 * 1024 * 1024

/**
 * The Admin API, as APISIX 3 has it (`admin_api_version: v3`): routes, services, upstreams, plugin_configs and global_rules;
 * `plugins/list`, `schema/{resource}`, `schema/plugins/{name}`, `plugins/reload`. Everything below the prefix is answered here.
 *
 * @throws FST_WASM_OPTIONS_INVALID when it is registered, for an `allow_admin` that is none
 */
export function adminApi(target: AdminTarget, options: Admin): FastifyPluginAsync {
  const check = accessCheck(options)
  const resources = new ResourceRequests(target)
  const prefix = options.prefix ?? DEFAULT_PREFIX
  return async (app) => {
    await app.register(
      async (scope) => {
        answerAsJson(scope)
        scope.addHook('onRequest', async (request, reply) => {
          reply.header('x-api-version', 'v3')
          check(request)
        })
        const answer = async (request: FastifyRequest, reply: FastifyReply) => {
          const { status, body } = await answerTo(request, prefix.length, target, resources)
          return reply.code(status).send(body)
        }
        for (const url of ['/', '/*']) scope.all(url, { bodyLimit: MAX_BODY, exposeHeadRoute: false }, answer)
      },
      { prefix }
    )
  }
}

function answerAsJson(scope: FastifyInstance): void {
  // What curl sends with -d says that it is a form.
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  scope.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    const { statusCode, body } = asAdminError(error)
    if (statusCode >= 500) request.log.error({ err: error }, error.message)
    reply.code(statusCode).send(body)
  })
}

function asAdminError(error: Error & { statusCode?: number; code?: string }): AdminError {
  if (error instanceof AdminError) return error
  if (error instanceof FST_WASM_STORE_FAILED) return new AdminError(503, error.message)
  // Something in effect has more to say against a value than the value itself shows.
  if (error.code?.startsWith('FST_WASM_')) return invalidConfiguration(error)
  return new AdminError(error.statusCode ?? 500, error.message)
}

async function answerTo(
  request: FastifyRequest,
  prefix: number,
  target: AdminTarget,
  resources: ResourceRequests
): Promise<Answer> {
  const [rawPath = '', rawQuery = ''] = request.url.split('?', 2)
  const [resource = '', id, ...path] = rawPath
    .slice(prefix + 1)
    .split('/')
    .map(decodeURIComponent)
  if (resource === 'plugins') return answerPlugins(request.method, id, target)
  if (resource === 'schema' && request.method === 'GET') return { status: 200, body: schemaOf(target, id, path[0]) }
  if (!RESOURCE_KINDS.includes(resource as ResourceKind)) {
    throw new AdminError(404, `Unsupported resource type: ${resource}`)
  }
  return resources.answer({
    request,
    kind: resource as ResourceKind,
    id: id === '' ? undefined : id,
    path: path.filter((segment) => segment !== ''),
    query: new URLSearchParams(rawQuery)
  })
}

async function answerPlugins(method: string, name: string | undefined, target: AdminTarget): Promise<Answer> {
  if (method === 'GET' && name === 'list') return { status: 200, body: [...target.resources.plugins.keys()] }
  if (method === 'GET' && name !== undefined && name !== '') {
    return { status: 200, body: schemaOf(target, 'plugins', name) }
  }
  if (method === 'PUT' && name === 'reload') {
    await reload(target)
    return { status: 200, body: 'done' }
  }
  throw new AdminError(404, 'not found')
}

async function reload(target: AdminTarget): Promise<void> {
  try {
    await target.reload()
  } catch (error) {
    throw new AdminError(500, (error as Error).message)
  }
}

function schemaOf(target: AdminTarget, kind: string | undefined, name: string | undefined): unknown {
  if (kind === 'plugins') {
    if (name === undefined || !target.resources.plugins.has(name)) throw new AdminError(400, 'not found plugin name')
    return PluginEntry
  }
  for (const [plural, schema] of Object.entries(SCHEMAS)) {
    if (plural === kind || plural === `${kind}s`) return schema
  }
  throw new AdminError(400, `not found schema: ${kind ?? ''}`)
}
