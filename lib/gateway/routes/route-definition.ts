import type { FastifyRequest } from 'fastify'
import { conditionsOf } from '../../config/route.ts'
import type { Route, Service } from '../../config/schema.ts'
import { variableOf } from '../variables.ts'
import type { RouteDefinition } from './route-table.ts'

/**
 * A route as the table takes it.
 *
 * @param entry what is found
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function routeDefinition<Entry>(
  route: Route,
  service: Service | undefined,
  place: string,
  entry: Entry
): RouteDefinition<Entry, FastifyRequest> {
  const { uris, hosts, methods, priority, address, vars } = conditionsOf(route, service, place)
  const matches =
    address === undefined && vars === undefined
      ? undefined
      : (request: FastifyRequest) =>
          (address === undefined || address(request.ip)) &&
          (vars === undefined || vars((name) => variableOf(request, name)))
  return { uris, hosts, methods, priority, matches, entry }
}
