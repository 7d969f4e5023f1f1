import type { FastifyRequest } from 'fastify'
import { FST_WASM_REFERENCE_UNKNOWN } from '../../errors.ts'
import type { ResourceKind, StoredResource } from '../../stores/resource-store.ts'
import { AdminError, KeyNotFound } from './admin-error.ts'
import { checkContent, jsonBody, objectBody } from './body.ts'
import { checkUnused, checkValue, inUse, NAMES } from './checks.ts'
import { keyOf, listOf, nodeOf } from './list.ts'
import { mergePatch, replaceAt } from './patch.ts'
import type { AdminTarget } from './target.ts'

type Fields = Readonly<Record<string, unknown>>

/** What a request of the Admin API asks for: `/{kind}/{id}/{path}`. */
export interface ResourceRequest {
  readonly request: FastifyRequest
  readonly kind: ResourceKind
  readonly id: string | undefined
  /** Into the object, of PATCH */
  readonly path: readonly string[]
  readonly query: URLSearchParams
}

export interface Answer {
  readonly status: number
  readonly body: unknown
}

const METHODS = ['GET', 'PUT', 'POST', 'PATCH', 'DELETE']
const NO_POST: readonly ResourceKind[] = ['global_rules', 'plugin_configs']
const ID = /^[a-zA-Z0-9\-_.]{1,64}$/
/** What the Admin API itself writes into an object. */
const STAMPS = ['create_time', 'update_time']

/** Answers the requests for one kind of objects. All that depends on what is there is decided in the turn of the write. */
export class ResourceRequests {
  readonly #target: AdminTarget
  #lastId = 0

  constructor(target: AdminTarget) {
    this.#target = target
  }

  /** @throws AdminError, FST_WASM_… */
  async answer(asked: ResourceRequest): Promise<Answer> {
    const { request, kind, path } = asked
    const { method } = request
    // Only PATCH looks inside of an object: DELETE of a part must not delete the whole.
    if (!METHODS.includes(method) || (path.length > 0 && method !== 'PATCH')) throw new AdminError(404, 'not found')
    if (method === 'POST' && NO_POST.includes(kind)) {
      throw new AdminError(405, `not supported \`POST\` method for ${NAMES[kind]}`)
    }
    switch (method) {
      case 'GET':
        return this.#get(asked)
      case 'PUT':
        return this.#put(asked)
      case 'POST':
        return this.#post(asked)
      case 'PATCH':
        return this.#patch(asked)
      default:
        return this.#delete(asked)
    }
  }

  #get({ kind, id, query }: ResourceRequest): Answer {
    if (id === undefined) return { status: 200, body: listOf(this.#target, kind, query) }
    const node = nodeOf(this.#target, kind, id)
    if (node === undefined) throw new KeyNotFound()
    return { status: 200, body: node }
  }

  async #put({ request, kind, id: inPath, query }: ResourceRequest): Promise<Answer> {
    const body = ownFields(request, query)
    const inBody = idOf(body)
    const id = inPath ?? inBody
    if (id === undefined) throw missingId(kind)
    if (inBody !== undefined && inBody !== id) throw wrongId(kind)
    let created = false
    const { value } = await this.#write(kind, id, (current) => {
      created = current === undefined
      return stamped(body, id, current)
    })
    return { status: created ? 201 : 200, body: { key: keyOf(kind, id), value } }
  }

  async #post({ request, kind, id: inPath, query }: ResourceRequest): Promise<Answer> {
    const body = ownFields(request, query)
    if (inPath !== undefined || body.id !== undefined) {
      throw new AdminError(400, `wrong ${NAMES[kind]} id, do not need it`)
    }
    let id = ''
    const newId = () => {
      id = this.#newId(kind)
      return id
    }
    const { value } = await this.#write(kind, newId, () => stamped(body, id, undefined))
    return { status: 201, body: { key: keyOf(kind, id), value } }
  }

  async #patch({ request, kind, id, path, query }: ResourceRequest): Promise<Answer> {
    refuseTimeToLive(query)
    if (id === undefined) throw missingId(kind)
    const patch = path.length === 0 ? objectBody(request, 'missing new configuration') : jsonBody(request)
    if (patch === undefined) throw new AdminError(400, 'missing new configuration')
    refuseStamps(path.length === 0 ? Object.keys(patch as Fields) : path.slice(0, 1))
    const { value } = await this.#write(kind, id, (current) => {
      if (current === undefined) throw new KeyNotFound()
      const patched = path.length === 0 ? mergePatch(current.value, patch) : replaceAt(current.value, path, patch)
      checkContent(patched)
      if (idOf(patched as Fields) !== id) throw wrongId(kind)
      return stamped(patched as Fields, id, current)
    })
    return { status: 200, body: { key: keyOf(kind, id), value } }
  }

  async #delete({ kind, id, query }: ResourceRequest): Promise<Answer> {
    if (id === undefined) throw missingId(kind)
    try {
      await this.#target.write(kind, id, (current) => {
        // What is stored beside what is declared has no effect, and can go.
        if (current === undefined) this.#refuseDeclared(kind, id)
        if (current === undefined) throw new KeyNotFound()
        const isForced = query.get('force') === 'true' || this.#target.isDeclared(kind, id)
        if (!isForced) checkUnused(this.#target, kind, id)
        return undefined
      })
    } catch (error) {
      if (!(error instanceof FST_WASM_REFERENCE_UNKNOWN)) throw error
      // Whatever is forced: the application would not start again.
      throw inUse(kind, `a route of the application (${error.message})`)
    }
    return { status: 200, body: { key: keyOf(kind, id), deleted: '1' } }
  }

  #write(
    kind: ResourceKind,
    id: string | (() => string),
    update: (current: StoredResource | undefined) => Fields
  ): Promise<StoredResource> {
    // Upstreams have names that filters call them by: `outbound|80||svc` is one.
    if (typeof id === 'string' && kind !== 'upstreams' && !ID.test(id)) {
      throw new AdminError(400, `invalid configuration: id: ${JSON.stringify(id)} is not 1 to 64 of a-z A-Z 0-9 - _ .`)
    }
    return this.#target.write(kind, id, (current) => {
      if (typeof id === 'string') this.#refuseDeclared(kind, id)
      const value = update(current)
      checkValue(this.#target.resources, kind, value.id as string, value)
      return value
    })
  }

  #refuseDeclared(kind: ResourceKind, id: string): void {
    if (!this.#target.isDeclared(kind, id)) return
    const where = 'declared in the configuration file or in the options: change it there'
    throw new AdminError(400, `${NAMES[kind]} [${id}] is ${where}`)
  }

  /** As APISIX's: 20 digits, beyond what there is. */
  #newId(kind: ResourceKind): string {
    for (const objects of this.#target.stored.values()) {
      for (const { modifiedIndex } of objects.values()) this.#lastId = Math.max(this.#lastId, modifiedIndex)
    }
    let id: string
    do id = String(++this.#lastId).padStart(20, '0')
    while (this.#target.resources[kind].has(id) || this.#target.stored.get(kind)!.has(id))
    return id
  }
}

function ownFields(request: FastifyRequest, query: URLSearchParams): Fields {
  refuseTimeToLive(query)
  const body = objectBody(request, 'missing configurations')
  refuseStamps(Object.keys(body))
  return body
}

function idOf({ id }: Fields): string | undefined {
  if (id === undefined || typeof id === 'string') return id
  if (Number.isSafeInteger(id) && (id as number) > 0) return String(id)
  throw new AdminError(400, 'invalid configuration: id: must be a string or a whole number from 1')
}

function missingId(kind: ResourceKind): AdminError {
  return new AdminError(400, `missing ${NAMES[kind]} id`)
}

function wrongId(kind: ResourceKind): AdminError {
  return new AdminError(400, `wrong ${NAMES[kind]} id`)
}

function refuseStamps(keys: readonly string[]): void {
  const forbidden = STAMPS.filter((name) => keys.includes(name))
  if (forbidden.length === 0) return
  throw new AdminError(400, `the property is forbidden: ${forbidden.map((name) => ` ${name}`).join('')}`)
}

function refuseTimeToLive(query: URLSearchParams): void {
  if (query.has('ttl')) throw new AdminError(400, 'ttl is not supported: delete the object when its time is over')
}

function stamped(value: Fields, id: string, current: StoredResource | undefined): Fields {
  const now = Math.floor(Date.now() / 1000)
  return { ...value, id, create_time: current?.value.create_time ?? now, update_time: now }
}
