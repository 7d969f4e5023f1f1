import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { WasmGatewayOptions } from '../../../lib/index.ts'
import { startUpstream } from '../../app.ts'
import { type AdminApp, type AdminBody, startAdmin } from '../../gateway/admin/admin.ts'
import { type Response, request } from '../../http.ts'

export interface Gateway extends AdminApp {
  /** Where the backend listens, as a node of an upstream. */
  node: string
  /** PUTs an object, as APISIX's tests do before each request. */
  put(path: string, value: unknown): Promise<AdminBody>
  get(path: string, headers?: Record<string, string>): Promise<Response>
  post(path: string, body?: string): Promise<Response>
}

/** The backend of APISIX's tests: `/hello` answers `hello world`. */
const hello = (app: FastifyInstance) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.route({ method: ['GET', 'POST'], url: '/hello', handler: async () => 'hello world\n' })
}

/** Starts a gateway that has plugins and nothing else, and a backend for it. */
export async function startGateway(
  t: TestContext,
  plugins: WasmGatewayOptions['plugins'] & object,
  backend: (app: FastifyInstance) => void = hello
): Promise<Gateway> {
  const { node } = await startUpstream(t, backend)
  const gateway = await startAdmin(t, { plugins })
  return {
    ...gateway,
    node,
    put: async (path, value) => {
      const { status, body } = await gateway.admin('PUT', path, value)
      assert.ok(status === 200 || status === 201, JSON.stringify(body))
      return body
    },
    get: (path, headers = {}) => request(gateway.url + path, { headers }),
    post: (path, body) =>
      request(gateway.url + path, {
        method: 'POST',
        headers: { 'content-length': String(body?.length ?? 0) },
        ...(body !== undefined && { body })
      })
  }
}

/** The route of most tests. */
export const helloRoute = (node: string, plugins?: object) => ({
  uri: '/hello',
  ...(plugins !== undefined && { plugins }),
  upstream: { type: 'roundrobin', nodes: { [node]: 1 } }
})

/** The line of the log filter. */
export const ran = (context: number, conf: string, http: number) =>
  `run plugin ctx ${context} with conf ${conf} in http ctx ${http}`
