import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FST_WASM_STORE_FAILED } from '../errors.ts'
import { RESOURCE_KINDS, type ResourceKind, type ResourceStore, type StoredResource } from './resource-store.ts'

interface Content {
  readonly revision: number
  readonly resources: readonly StoredResource[]
}

/**
 * Keeps the objects in one JSON file. Each write puts a new file in its place (written beside it, synced, renamed), so
 * whenever the process or the machine dies there is the file of before or the one of after, and what was acknowledged is in it.
 * One process may use a file.
 */
export class FileResourceStore implements ResourceStore {
  readonly #path: string
  readonly #objects: Map<string, StoredResource> = new Map()
  #revision = 0
  /** The write that is under way, and the one that waits for it: all that come meanwhile go in one. */
  #writing: Promise<void> = Promise.resolve()
  #waiting: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
  }

  async load(): Promise<StoredResource[]> {
    try {
      // What a process that died had begun.
      await rm(this.#temporary, { force: true })
      await mkdir(dirname(this.#path), { recursive: true })
      const { revision, resources } = contentOf(await readFile(this.#path, 'utf8'))
      this.#revision = revision
      for (const object of resources) this.#objects.set(`${object.kind}/${object.id}`, object)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw this.#failed(error as Error)
    }
    return [...this.#objects.values()]
  }

  async write(
    kind: ResourceKind,
    id: string,
    value: Readonly<Record<string, unknown>> | undefined,
    expected: number
  ): Promise<StoredResource> {
    const key = `${kind}/${id}`
    const current = this.#objects.get(key)
    if ((current?.modifiedIndex ?? 0) !== expected) {
      throw new FST_WASM_STORE_FAILED(this.#path, `${key} has been changed by somebody else`)
    }
    const modifiedIndex = ++this.#revision
    const object =
      value === undefined
        ? current!
        : { kind, id, value, createdIndex: current?.createdIndex ?? modifiedIndex, modifiedIndex }
    if (value === undefined) this.#objects.delete(key)
    else this.#objects.set(key, object)
    try {
      await this.#save()
    } catch (error) {
      // Not kept, so not there: unless a later write has taken its place already.
      if (this.#objects.get(key) === (value === undefined ? undefined : object)) {
        if (current === undefined) this.#objects.delete(key)
        else this.#objects.set(key, current)
      }
      throw this.#failed(error as Error)
    }
    return object
  }

  async close(): Promise<void> {
    await this.#waiting?.catch(() => {})
    await this.#writing.catch(() => {})
  }

  get #temporary(): string {
    return `${this.#path}.tmp`
  }

  /** Resolves when everything that is there now is durable. */
  #save(): Promise<void> {
    this.#waiting ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#writing = this.#replace()
        this.#waiting = undefined
        return this.#writing
      })
    return this.#waiting
  }

  async #replace(): Promise<void> {
    const content: Content = { revision: this.#revision, resources: [...this.#objects.values()] }
    const file = await open(this.#temporary, 'w', 0o600)
    try {
      await file.writeFile(JSON.stringify(content))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(this.#temporary, this.#path)
    // The name is durable when its folder is; some systems cannot sync one.
    const folder = await open(dirname(this.#path), 'r').catch(() => undefined)
    try {
      await folder?.sync().catch(() => {})
    } finally {
      await folder?.close()
    }
  }

  #failed(error: Error): Error {
    return new FST_WASM_STORE_FAILED(this.#path, `${error.message}; the file is left as it is`, { cause: error })
  }
}

function contentOf(text: string): Content {
  const content = JSON.parse(text) as Partial<Content> | null
  const isContent =
    typeof content === 'object' &&
    content !== null &&
    Number.isSafeInteger(content.revision) &&
    Array.isArray(content.resources) &&
    content.resources.every(isStored)
  if (!isContent) throw new Error('it is not what the Admin API has written')
  return content as Content
}

function isStored(object: Partial<StoredResource> | null): boolean {
  return (
    typeof object === 'object' &&
    object !== null &&
    RESOURCE_KINDS.includes(object.kind as ResourceKind) &&
    typeof object.id === 'string' &&
    typeof object.value === 'object' &&
    object.value !== null &&
    Number.isSafeInteger(object.createdIndex) &&
    Number.isSafeInteger(object.modifiedIndex)
  )
}
