import { createHash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookie } from '../variables.ts'

const COOKIE = 'wasm_inspector'
const LIFETIME_SECONDS = 12 * 60 * 60
const MAX_SESSIONS = 100

/**
 * Browsers that have shown a key: a page that listens to events can send no header of its own. The cookie has a random number and
 * not the key, for the time of twelve hours at most.
 */
export class Sessions {
  readonly #path: string
  /** By the digest of the cookie's value: when it ends, in milliseconds. The oldest first. */
  readonly #ends: Map<string, number> = new Map()

  /** @param path that the cookie is for, and what is below it */
  constructor(path: string) {
    this.#path = path
  }

  begin(request: FastifyRequest, reply: FastifyReply): void {
    const value = randomBytes(32).toString('base64url')
    this.#ends.set(digest(value), Date.now() + LIFETIME_SECONDS * 1000)
    for (const oldest of this.#ends.keys()) {
      if (this.#ends.size <= MAX_SESSIONS) break
      this.#ends.delete(oldest)
    }
    this.#set(request, reply, value, LIFETIME_SECONDS)
  }

  /** Whether a request comes from such a browser. */
  has(request: FastifyRequest): boolean {
    const value = cookie(request.headers.cookie, COOKIE)
    return value !== undefined && (this.#ends.get(digest(value)) ?? 0) > Date.now()
  }

  end(request: FastifyRequest, reply: FastifyReply): void {
    const value = cookie(request.headers.cookie, COOKIE)
    // From another site no cookie comes along, and a form there is to sign nobody out.
    if (value === undefined) return
    this.#ends.delete(digest(value))
    this.#set(request, reply, '', 0)
  }

  #set(request: FastifyRequest, reply: FastifyReply, value: string, seconds: number): void {
    const secure = request.protocol === 'https' ? '; Secure' : ''
    reply.header(
      'set-cookie',
      `${COOKIE}=${value}; Path=${this.#path}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`
    )
  }
}

function digest(value: string): string {
  return createHash('sha256').update(value).digest('base64')
}
