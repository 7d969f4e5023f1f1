import type { MissingReference } from '../config/plan.ts'
import { exchangeOf } from './hooks.ts'
import { sendError } from './local-response.ts'
import type { ProxyHandler } from './upstream/proxy.ts'

/** APISIX's */
const STATUS: Readonly<Record<MissingReference['kind'], number>> = { service: 404, plugin_config: 503, upstream: 502 }

/** Makes the handler of the gateway's own routes: it forwards, or says what of the route is not there any more. */
export function createRouteHandler(proxy: ProxyHandler): ProxyHandler {
  return (request, reply) => {
    const missing = exchangeOf(request)?.plan.missing
    if (missing === undefined) return proxy(request, reply)
    const { kind, id } = missing
    request.log.error({ [kind]: id }, `the route refers to the ${kind} [${id}], which is not there`)
    return sendError(reply, { statusCode: STATUS[kind], message: `the ${kind} of the route is not there` })
  }
}
