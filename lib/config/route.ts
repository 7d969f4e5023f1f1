import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { compileAddresses } from './addresses.ts'
import { compileVars, type Expression } from './expression.ts'
import type { Route, Service } from './schema.ts'

/** Which requests are a route's. */
export interface RouteConditions {
  readonly uris: readonly string[]
  /** The route's own, or else its service's; none: any. */
  readonly hosts: readonly string[]
  readonly methods: ReadonlySet<string> | undefined
  readonly priority: number
  readonly address: ((address: string) => boolean) | undefined
  readonly vars: Expression | undefined
}

/**
 * Reads which requests a route is for.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function conditionsOf(route: Route, service: Service | undefined, place: string): RouteConditions {
  const uris = oneOf(route, 'uri', 'uris', place)
  if (uris === undefined) throw new FST_WASM_OPTIONS_INVALID(`${place}: property "uri" is required`)
  for (const uri of uris) checkUri(uri, place)
  const hosts = oneOf(route, 'host', 'hosts', place)
  const addresses = oneOf(route, 'remote_addr', 'remote_addrs', place)
  const { plugins, plugin_config_id, upstream, upstream_id, service_id, methods, vars } = route
  if ([plugins, plugin_config_id, upstream, upstream_id, service_id].every((part) => part === undefined)) {
    throw new FST_WASM_OPTIONS_INVALID(
      `${place}: one of plugins, upstream, upstream_id and service_id is required, or plugin_config_id`
    )
  }
  return {
    uris,
    hosts: hosts ?? service?.hosts ?? [],
    methods: methods === undefined || methods.length === 0 ? undefined : new Set(methods),
    priority: route.priority ?? 0,
    address: addresses && compileAddresses(addresses, `${place}.remote_addr`),
    vars: vars === undefined ? undefined : compileVars(vars, `${place}.vars`)
  }
}

function oneOf<Single extends 'uri' | 'host' | 'remote_addr'>(
  route: Route,
  single: Single,
  several: `${Single}s`,
  place: string
): readonly string[] | undefined {
  const one = route[single]
  const list = (route as Record<string, readonly string[] | undefined>)[several]
  if (one !== undefined && list !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: only one of ${single} or ${several} is allowed`)
  }
  return one === undefined ? list : [one]
}

function checkUri(uri: string, place: string): void {
  if (!uri.startsWith('/') && uri !== '*') {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: the uri ${JSON.stringify(uri)} must begin with /`)
  }
  if (uri.slice(0, -1).includes('*')) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: the uri ${JSON.stringify(uri)} may have a * at its end alone`)
  }
}
