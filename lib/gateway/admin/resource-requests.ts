import type { FastifyRequest } from 'fastify'
import type { ResourceKind, StoredResource } from '../../stores/resource-store.ts'
import { AdminError, KeyNotFound } from './admin-error.ts'
import { jsonBody, objectBody } from './body.ts'
import { checkUnused, checkValue, NAMES } from './checks.ts'
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
    const { request, kind, id } = asked
    switch (request.method) {
      case 'GET':
        return this.#get(asked)
      case 'PUT':
        return this.#put(asked)
      case 'POST':
        if (!NO_POST.includes(kind)) return this.#post(asked)
        throw new AdminError(405, `not supported \`POST\` method for ${NAMES[kind]}`)
      case 'PATCH':
        return this.#patch(asked)
      case 'DELETE':
        return this.#delete(kind, id, asked.query)
      default:
        throw new AdminError(404, 'not found')
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
    const inBody = body.id === undefined ? undefined : String(body.id)
    if (inPath !== undefined && inBody !== undefined && inPath !== inBody) {
      throw new AdminError(400, `wrong ${NAMES[kind]} id`)
    }
    const id = inPath ?? inBody
    if (id === undefined) throw new AdminError(400, `missing ${NAMES[kind]} id`)
    let created = false
    const kept = await this.#write(kind, id, (current) => {
      created = current === undefined
      return stamped({ ...body, id }, current)
    })
    return { status: created ? 201 : 200, body: { key: keyOf(kind, id), value: kept.value } }
  }

  async #post({ request, kind, id: inPath, query }: ResourceRequest): Promise<Answer> {
    const body = ownFields(request, query)
    if (inPath !== undefined || body.id !== undefined) {
      throw new AdminError(400, `wrong ${NAMES[kind]} id, do not need it`)
    }
    const id = this.#newId(kind)
    const kept = await this.#write(kind, id, () => stamped({ ...body, id }, undefined))
    return { status: 201, body: { key: keyOf(kind, id), value: kept.value } }
  }

  async #patch({ request, kind, id, path, query }: ResourceRequest): Promise<Answer> {
    refuseTimeToLive(query)
    if (id === undefined) throw new AdminError(400, `missing ${NAMES[kind]} id`)
    const patch = jsonBody(request)
    if (patch === undefined) throw new AdminError(400, 'missing new configuration')
    if (path.length === 0) {
      if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
        throw new AdminError(400, 'invalid configuration: an object is wanted')
      }
      refuseStamps(patch as Fields)
    }
    const kept = await this.#write(kind, id, (current) => {
      if (current === undefined) throw new KeyNotFound()
      const patched = path.length === 0 ? mergePatch(current.value, patch) : replaceAt(current.value, path, patch)
      const value = patched as Fields
      if (String(value.id) !== id) throw new AdminError(400, `wrong ${NAMES[kind]} id`)
      return stamped(value, current)
    })
    return { status: 200, body: { key: keyOf(kind, id), value: kept.value } }
  }

  async #delete(kind: ResourceKind, id: string | undefined, query: URLSearchParams): Promise<Answer> {
    if (id === undefined) throw new AdminError(400, `missing ${NAMES[kind]} id`)
    this.#refuseDeclared(kind, id)
    await this.#target.write(kind, id, (current) => {
      if (current === undefined) throw new KeyNotFound()
      if (query.get('force') !== 'true') checkUnused(this.#target.resources, kind, id)
      return undefined
    })
    return { status: 200, body: { key: keyOf(kind, id), deleted: '1' } }
  }

  #write(
    kind: ResourceKind,
    id: string,
    update: (current: StoredResource | undefined) => Fields
  ): Promise<StoredResource> {
    // Upstreams have names that filters call them by: `outbound|80||svc` is one.
    if (kind !== 'upstreams' && !ID.test(id)) {
      throw new AdminError(400, `invalid configuration: the id ${JSON.stringify(id)} is no 1 to 64 of a-z A-Z 0-9 - _ .`)
    }
    this.#refuseDeclared(kind, id)
    return this.#target.write(kind, id, (current) => {
      const value = update(current)
      checkValue(this.#target.resources, kind, id, value)
      return value
    })
  }

  #refuseDeclared(kind: ResourceKind, id: string): void {
    if (!this.#target.isDeclared(kind, id)) return
    const where = 'declared in the configuration file or in the options: change it there'
    throw new AdminError(400, `${kind} [${id}] is ${where}`)
  }

  /** As APISIX's: 20 digits, beyond what there is. */
  #newId(kind: ResourceKind): string {
    for (const objects of this.#target.stored.values()) {
      for (const { modifiedIndex } of objects.values()) this.#lastId = Math.max(this.#lastId, modifiedIndex)
    }
    let id: string
    do id = String(++this.#lastId).padStart(20, '0')
    while (this.#target.resources[kind].has(id))
    return id
  }
}

function ownFields(request: FastifyRequest, query: URLSearchParams): Fields {
  refuseTimeToLive(query)
  const body = objectBody(request, 'missing configurations')
  refuseStamps(body)
  return body
}

function refuseStamps(body: Fields): void {
  const forbidden = STAMPS.filter((name) => Object.hasOwn(body, name))
  if (forbidden.length === 0) return
  throw new AdminError(400, `the property is forbidden: ${forbidden.map((name) => ` ${name}`).join('')}`)
}

function refuseTimeToLive(query: URLSearchParams): void {
  if (query.has('ttl')) throw new AdminError(400, 'ttl is not supported: delete the object when its time is over')
}

function stamped(value: Fields, current: StoredResource | undefined): Fields {
  const now = Math.floor(Date.now() / 1000)
  return { ...value, create_time: current?.value.create_time ?? now, update_time: now }
}
