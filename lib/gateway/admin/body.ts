import type { FastifyRequest } from 'fastify'
import { AdminError } from './admin-error.ts'

/**
 * The JSON of a request's body, whatever its content type says; `undefined` when there is none.
 *
 * @throws AdminError 400
 */
export function jsonBody(request: FastifyRequest): unknown {
  const bytes = request.body as Buffer | undefined | null
  if (!bytes || bytes.length === 0) return undefined
  const text = bytes.toString()
  try {
    // Copied with it a key of this name would become the prototype of the copy.
    return JSON.parse(text, (key, value) => (key === '__proto__' ? undefined : value))
  } catch (error) {
    throw new AdminError(400, `invalid request body: ${(error as Error).message}`, { req_body: text })
  }
}

/** The same where an object is wanted. */
export function objectBody(request: FastifyRequest, missing: string): Readonly<Record<string, unknown>> {
  const body = jsonBody(request)
  if (body === undefined) throw new AdminError(400, missing)
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new AdminError(400, 'invalid configuration: an object is wanted')
  }
  return body as Readonly<Record<string, unknown>>
}
