import { HeaderList } from '../host/header-map.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'

/** Trailers of a response, as far as filters may write them. */
export class TrailerList extends HeaderList {
  override add(name: string, value: string): boolean {
    return !FORBIDDEN.has(name) && super.add(name, value)
  }

  override replace(name: string, value: string): boolean {
    return !FORBIDDEN.has(name) && super.replace(name, value)
  }
}

/** What may not stand behind the body, for it tells how to read or route it (RFC 9110 §6.5.1); Fastify refuses the same. */
const FORBIDDEN = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'host',
  'max-forwards',
  'set-cookie'
])
