import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { compileAddresses } from '../../config/addresses.ts'
import type { Admin } from '../../config/schema.ts'
import { cookie } from '../variables.ts'
import { AdminError } from './admin-error.ts'

export const DEFAULT_ALLOWED: readonly string[] = ['127.0.0.0/8', '::1']

/** What a request shows elsewhere than the Admin API's do. */
interface Given {
  /** To sign in with, which changes nothing */
  readonly key?: string
  /** It has shown a key before */
  readonly isTrusted?: boolean
}

/**
 * Makes the check of who may use the Admin API, or the inspector: by the address that the connection comes from, and by a key, which is in the query
 * (`api_key`), the header `x-api-key` or the cookie `x_api_key`. A viewer may only read.
 *
 * @param place whose options they are, for the error
 * @returns throws an AdminError where the request is refused
 * @throws FST_WASM_OPTIONS_INVALID for an address that is none
 */
export function accessCheck(
  options: Pick<Admin, 'key' | 'allow_admin'>,
  place: string
): (request: FastifyRequest, given?: Given) => void {
  const isAllowed = compileAddresses(options.allow_admin ?? DEFAULT_ALLOWED, `${place}.allow_admin`)
  const keys = (typeof options.key === 'string' ? [{ key: options.key }] : options.key).map((entry) => ({
    digest: digest(entry.key),
    isViewer: 'role' in entry && entry.role === 'viewer'
  }))
  return (request, given = {}) => {
    // Of the connection itself: what a header says of it is anybody's to say.
    if (!isAllowed(request.socket.remoteAddress ?? '')) throw new AdminError(403, 'your address is not allowed')
    if (given.isTrusted === true) return
    const key = given.key ?? keyOf(request)
    if (key === undefined) throw unauthorized('missing apikey')
    const ofKey = digest(key)
    // All of them, whichever fits: how long it takes tells nothing.
    const fitting = keys.filter((known) => timingSafeEqual(known.digest, ofKey))
    if (fitting.length === 0) throw unauthorized('wrong apikey')
    const reads = given.key !== undefined || request.method === 'GET' || request.method === 'HEAD'
    if (!reads && fitting.every(({ isViewer }) => isViewer)) throw unauthorized('invalid method for role viewer')
  }
}

function keyOf(request: FastifyRequest): string | undefined {
  const { url } = request
  const end = url.indexOf('?')
  const inQuery = end === -1 ? null : new URLSearchParams(url.slice(end + 1)).get('api_key')
  const inHeader = request.headers['x-api-key']
  return inQuery ?? (Array.isArray(inHeader) ? inHeader[0] : inHeader) ?? cookie(request.headers.cookie, 'x_api_key')
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

function unauthorized(description: string): AdminError {
  return new AdminError(401, 'failed to check token', { description })
}
