import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Admin } from '../../config/schema.ts'
import { FST_WASM_STORE_FAILED } from '../../errors.ts'
import { RESOURCE_KINDS, type ResourceKind } from '../../stores/resource-store.ts'
import { forgetContentType } from '../route-context.ts'
import { accessCheck } from './access.ts'
import { AdminError } from './admin-error.ts'
import { invalidConfiguration } from './checks.ts'
import { type Answer, ResourceRequests } from './resource-requests.ts'
import { pluginSchema, resourceSchema } from './schemas.ts'
import type { AdminTarget } from './target.ts'

export const DEFAULT_PREFIX: string = '/apisix/admin'
/** APISIX's */
const MAX_BODY = 1.5 * 1024 * 1024

/**
 * The Admin API, as APISIX 3 has it (`admin_api_version: v3`): routes, services, upstreams, plugin_configs and global_rules;
 * `plugins/list`, `schema/{resource}`, `schema/plugins/{name}`, `plugins/reload`. Everything below the prefix is answered here.
 *
 * @throws FST_WASM_OPTIONS_INVALID for an `allow_admin` that is none
 */
export function adminApi(target: AdminTarget, options: Admin): FastifyPluginAsync {
  const check = accessCheck(options, 'admin')
  const resources = new ResourceRequests(target)
  const prefix = options.prefix ?? DEFAULT_PREFIX
  return async (app) => {
    const answerAll: FastifyPluginAsync = async (scope) => {
      answerAsJson(scope)
      scope.addHook('onRequest', async (request, reply) => {
        reply.header('x-api-version', 'v3')
        check(request)
      })
      const answer = async (request: FastifyRequest, reply: FastifyReply) => {
        const { status, body } = await answerTo(request, scope.prefix, target, resources)
        return reply.code(status).send(body)
      }
      for (const url of ['/', '/*']) scope.all(url, { bodyLimit: MAX_BODY, exposeHeadRoute: false }, answer)
      // Methods that Fastify has no routes for.
      scope.setNotFoundHandler(() => {
        throw notFound()
      })
    }
    // Typed for texts; what pino takes is any value.
    await app.register(answerAll, { prefix, logSerializers: { req: withoutQuery as never } })
  }
}

/** A request as Fastify logs it, without the query: the key may be in it. */
export function withoutQuery({ method, url, host, ip, socket }: FastifyRequest): object {
  return { method, url: url.split('?', 1)[0], host, remoteAddress: ip, remotePort: socket?.remotePort }
}

function answerAsJson(scope: FastifyInstance): void {
  // What curl sends with -d says that it is a form; what is no content type at all, Fastify would refuse.
  scope.addHook('onRequest', async (request) => {
    delete request.raw.headers['content-type']
    forgetContentType(request)
  })
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  scope.setErrorHandler((error: FastifyError, request, reply) => {
    const { statusCode, body } = asAdminError(error)
    if (statusCode >= 500) request.log.error({ err: error }, error.message)
    else request.log.info(error.message)
    reply.code(statusCode).send(body)
  })
}

function asAdminError(error: FastifyError): AdminError {
  if (error instanceof AdminError) return error
  if (error instanceof FST_WASM_STORE_FAILED) return new AdminError(503, error.message)
  // Something in effect has more to say against a value than the value itself shows.
  if (String(error.code).startsWith('FST_WASM_')) return invalidConfiguration(error)
  return new AdminError(error.statusCode ?? 500, error.message)
}

async function answerTo(
  request: FastifyRequest,
  prefix: string,
  target: AdminTarget,
  resources: ResourceRequests
): Promise<Answer> {
  const { method, url } = request
  const end = url.indexOf('?')
  const [resource = '', id, ...path] = segmentsOf(end === -1 ? url : url.slice(0, end), prefix)
  if (resource === 'plugins') return answerPlugins(method, id, target)
  if (resource === 'schema') {
    if (method !== 'GET') throw notFound()
    return { status: 200, body: id === 'plugins' ? pluginSchema(target, path[0]) : resourceSchema(id) }
  }
  if (!RESOURCE_KINDS.includes(resource as ResourceKind)) {
    throw new AdminError(404, `Unsupported resource type: ${resource}`)
  }
  return resources.answer({
    request,
    kind: resource as ResourceKind,
    id: id === '' ? undefined : id,
    path: path.filter((segment) => segment !== ''),
    query: new URLSearchParams(end === -1 ? '' : url.slice(end + 1))
  })
}

/** What stands below the prefix, which may be written in other ways than it is given. */
function segmentsOf(path: string, prefix: string): string[] {
  try {
    return path.split('/').slice(prefix.split('/').length).map(decodeURIComponent)
  } catch {
    throw new AdminError(400, 'the path is not percent-encoded as UTF-8')
  }
}

async function answerPlugins(method: string, name: string | undefined, target: AdminTarget): Promise<Answer> {
  if (method === 'GET' && name === 'list') return { status: 200, body: pluginNames(target) }
  if (method === 'GET' && name !== undefined && name !== '') return { status: 200, body: pluginSchema(target, name) }
  if (method === 'PUT' && name === 'reload') {
    await reload(target)
    return { status: 200, body: 'done' }
  }
  throw notFound()
}

/** By priority, high to low. */
function pluginNames({ resources }: AdminTarget): string[] {
  const plugins = [...resources.plugins.values()]
  return plugins.sort((a, b) => (b.priority ?? 0) - (a.priority ?? 0)).map(({ name }) => name)
}

async function reload(target: AdminTarget): Promise<void> {
  try {
    await target.reload()
  } catch (error) {
    throw new AdminError(500, `the configuration stays as it was: ${(error as Error).message}`)
  }
}

function notFound(): AdminError {
  return new AdminError(404, 'not found')
}
