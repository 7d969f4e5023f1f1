import type { FastifyPluginAsync } from 'fastify'
import type { Registry } from 'prom-client'
import { compileAddresses } from '../../config/addresses.ts'
import { DEFAULT_ALLOWED } from '../admin/access.ts'

/**
 * Serves a registry to Prometheus.
 *
 * @param allow addresses and networks that connections may come from
 * @throws FST_WASM_OPTIONS_INVALID for an address that is none
 */
export function metricsPage(
  registry: Registry,
  path: string,
  allow: readonly string[] = DEFAULT_ALLOWED
): FastifyPluginAsync {
  const isAllowed = compileAddresses(allow, 'metrics.allow')
  return async (app) => {
    app.get(path, { logLevel: 'warn' }, async (request, reply) => {
      // Of the connection itself: what a header says of it is anybody's to say.
      if (!isAllowed(request.socket.remoteAddress ?? '')) {
        return reply.code(403).send({ error_msg: 'your address is not allowed (metrics.allow)' })
      }
      return reply.type(registry.contentType).send(await registry.metrics())
    })
  }
}
