import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FST_WASM_STORE_FAILED } from '../errors.ts'
import { nameOf, RESOURCE_KINDS, type ResourceKind, type ResourceStore, type StoredResource } from './resource-store.ts'

interface Content {
  readonly revision: number
  readonly resources: readonly StoredResource[]
}

/**
 * Keeps the objects in one JSON file. Each write puts a new file in its place (written beside it, synced, renamed), so
 * whenever the process or the machine dies there is the file of before or the one of after, and what was acknowledged is in it.
 * One process may use a file: writes are refused when another one has put its own in place.
 */
export class FileResourceStore implements ResourceStore {
  readonly #path: string
  #objects: ReadonlyMap<string, StoredResource> = new Map()
  #revision = 0
  /** Tells the file that was read or written last from any other; `undefined` when there was none. */
  #identity: string | undefined
  /** The write that is under way; each one waits for the one before. */
  #turn: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(path: string) {
    this.#path = path
  }

  async load(): Promise<StoredResource[]> {
    try {
      await mkdir(dirname(this.#path), { recursive: true })
      await this.#removeTemporary()
      this.#identity = await identityOf(this.#path)
      if (this.#identity === undefined) return []
      const { revision, resources } = contentOf(await readFile(this.#path, 'utf8'))
      this.#revision = revision
      this.#objects = new Map(resources.map((object) => [nameOf(object), object]))
      return [...resources]
    } catch (error) {
      throw this.#failed(error as Error)
    }
  }

  write(
    kind: ResourceKind,
    id: string,
    value: Readonly<Record<string, unknown>> | undefined,
    expected: number
  ): Promise<StoredResource> {
    const result = this.#turn.then(async () => {
      const key = nameOf({ kind, id })
      const current = this.#objects.get(key)
      if (this.#closed) throw new FST_WASM_STORE_FAILED(this.#path, 'it is closed')
      if ((current?.modifiedIndex ?? 0) !== expected) {
        throw new FST_WASM_STORE_FAILED(this.#path, `${key} has been changed by somebody else`)
      }
      const modifiedIndex = this.#revision + 1
      const objects = new Map(this.#objects)
      const createdIndex = current?.createdIndex ?? modifiedIndex
      if (value === undefined) objects.delete(key)
      else objects.set(key, { kind, id, value, createdIndex, modifiedIndex })
      try {
        await this.#replace({ revision: modifiedIndex, resources: [...objects.values()] })
      } catch (error) {
        throw this.#failed(error as Error)
      }
      this.#revision = modifiedIndex
      this.#objects = objects
      return objects.get(key) ?? current!
    })
    this.#turn = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#turn
  }

  async #replace(content: Content): Promise<void> {
    const temporary = `${this.#path}.${randomBytes(6).toString('hex')}.tmp`
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        await file.writeFile(JSON.stringify(content))
        await file.sync()
      } finally {
        await file.close()
      }
      const identity = await identityOf(this.#path)
      // Whoever has removed it may have it back.
      if (identity !== undefined && identity !== this.#identity) {
        throw new Error('it has been replaced by somebody else, and one process alone may use it')
      }
      await rename(temporary, this.#path)
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw error
    }
    // It is in its place from here on, whatever fails.
    this.#identity = await identityOf(this.#path).catch(() => this.#identity)
    await syncFolder(dirname(this.#path)).catch(() => {})
  }

  /** What a process that died had begun. */
  async #removeTemporary(): Promise<void> {
    const folder = dirname(this.#path)
    const prefix = `${basename(this.#path)}.`
    for (const name of await readdir(folder)) {
      const isTemporary = name.startsWith(prefix) && /^[0-9a-f]{12}\.tmp$/.test(name.slice(prefix.length))
      if (isTemporary) await rm(join(folder, name), { force: true })
    }
  }

  #failed(error: Error): Error {
    return new FST_WASM_STORE_FAILED(this.#path, `${error.message}; the file is left as it is`, { cause: error })
  }
}

async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return `${ino} ${size} ${mtimeNs}`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** A name is durable when its folder is; some systems cannot sync one. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
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
