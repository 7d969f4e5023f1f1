import type { FastifyRequest } from 'fastify'
import { AdminError } from './admin-error.ts'

/** As APISIX reads JSON. Whatever compares, copies or writes a value calls itself for each level. */
const MAX_DEPTH = 1000

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * The JSON of a request's body, whatever its content type says; `undefined` when there is none.
 *
 * @throws AdminError 400
 */
export function jsonBody(request: FastifyRequest): unknown {
  const bytes = request.body as Buffer | undefined | null
  if (!bytes || bytes.length === 0) return undefined
  try {
    const value = JSON.parse(utf8.decode(bytes))
    checkContent(value)
    return value
  } catch (error) {
    throw new AdminError(400, `invalid request body: ${(error as Error).message}`, { req_body: bytes.toString() })
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

/**
 * Checks that a value can be kept as it is.
 *
 * @throws AdminError 400
 */
export function checkContent(value: unknown): void {
  let level = isObject(value) ? [value] : []
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw new AdminError(400, `Found too many nested data structures (${depth})`)
    // In a copy that is made with it, it would be the prototype.
    if (level.some((item) => Object.hasOwn(item, '__proto__'))) {
      throw new AdminError(400, 'no key may be named "__proto__"')
    }
    level = level.flatMap((item) => Object.values(item).filter(isObject))
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
