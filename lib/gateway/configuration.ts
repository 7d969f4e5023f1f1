import { setTimeout as sleep } from 'node:timers/promises'
import { type ConfigFileContent, configFilesOf, readConfigFiles } from '../config/file.ts'
import {
  checkOptions,
  foreignFunctionsOf,
  isDangling,
  loadResources,
  type Resources,
  withResource
} from '../config/resources.ts'
import type { Options } from '../config/schema.ts'
import { type Change, keepUnchanged, type StoredProblems, withChanges, withStored } from '../config/stored.ts'
import { type FileWatch, watchFiles } from '../config/watch.ts'
import { FST_WASM_CONFIG_UNREADABLE, FST_WASM_STORE_FAILED } from '../errors.ts'
import { foreignFunctionsWith, type Logger, type Plugin, type PluginStatus } from '../host/index.ts'
import {
  nameOf,
  RESOURCE_KINDS,
  type ResourceKind,
  type ResourceStore,
  type StoreChanges,
  StoreConflict,
  type StoredResource
} from '../stores/resource-store.ts'
import type { AdminTarget } from './admin/target.ts'
import { Plans } from './plans.ts'
import { loadPlugins, type SharedSettings } from './plugins.ts'
import { StandingContexts } from './standing-contexts.ts'

/** So often a write is tried while others write too. */
const MAX_CONFLICTS = 50
/** Milliseconds that the changes under way may take when the gateway closes, before the store is closed all the same. */
const LAST_MS = 200
/** Milliseconds between two lines that say how far something is. */
const PROGRESS_MS = 1000

/**
 * The configuration that is in effect: of the options, of the files that they name, and of what the Admin API has written. It is
 * replaced as a whole or not at all: whatever can be wrong with the next one is found while this one serves requests.
 */
export class Configuration implements AdminTarget {
  readonly plans: Plans
  #options: Options
  #declared: Resources | undefined
  #turnOf: (route: string) => number = () => 0
  #resources: Resources | undefined
  #plugins: ReadonlyMap<string, Plugin> = new Map()
  readonly #standing: StandingContexts = new StandingContexts()
  readonly #store: ResourceStore
  readonly #stored: Map<ResourceKind, Map<string, StoredResource>> = new Map(
    RESOURCE_KINDS.map((kind) => [kind, new Map()])
  )
  /** Stored objects that are not in effect, since something is wrong with them. */
  #refused: Set<StoredResource> = new Set()
  readonly #shared: SharedSettings
  readonly #log: Logger
  #watch: FileWatch | undefined
  /** Whether it is going to be looked for what others have written. */
  #isFollowing = false
  /** Whether it has been said that this fails, and not yet that it works again. */
  #isBehind = false
  #isClosed = false
  /** Those that ended with `#END`. */
  readonly #endedFiles: Set<string> = new Set()
  /** Those in which there was something. */
  readonly #filledFiles: Set<string> = new Set()
  /** By object, changes in the store that the application's own routes cannot take, and what there is in their place. */
  readonly #leftOut: Map<string, { readonly change: Change; readonly before: StoredResource | undefined }> = new Map()
  /** The change that is under way; each one waits for the one before. */
  #turn: Promise<unknown> = Promise.resolve()

  /** @param options as `checkOptions` answers them */
  constructor(options: Options, store: ResourceStore, shared: Omit<SharedSettings, 'foreignFunctions'>) {
    this.plans = new Plans(shared.log)
    this.#options = options
    this.#store = store
    this.#shared = { ...shared, foreignFunctions: foreignFunctionsWith(foreignFunctionsOf(options)) }
    this.#log = shared.log
  }

  get resources(): Resources {
    return this.#resources!
  }

  get stored(): ReadonlyMap<ResourceKind, ReadonlyMap<string, StoredResource>> {
    return this.#stored
  }

  get plugins(): ReadonlyMap<string, Plugin> {
    return this.#plugins
  }

  /**
   * Reads everything for the first time. An object of the store that is wrong is logged, and left out; one that refers to
   * what is not there is logged.
   *
   * @param files those of the options, as they have just been read
   * @throws FST_WASM_…
   */
  async load(files: readonly ConfigFileContent[]): Promise<void> {
    for (const object of await this.#store.load()) this.#stored.get(object.kind)?.set(object.id, object)
    this.#watchFiles()
    await this.#replace(this.#options, files, {
      refused: (object, error) => this.#logRefused(object, error),
      dangling: (object, error) => this.#logDangling(object, error)
    })
    this.#store.follow?.(() => this.#followLater())
    await this.#watch?.look()
  }

  /** The server starts. */
  start(): void {
    this.plans.start()
    this.#standing.start()
  }

  isDeclared(kind: ResourceKind, id: string): boolean {
    return this.#declared?.[kind].has(id) === true
  }

  write(
    kind: ResourceKind,
    chooseId: string | (() => string),
    update: (current: StoredResource | undefined) => Readonly<Record<string, unknown>> | undefined
  ): Promise<StoredResource> {
    return this.#inTurn(async () => {
      for (let i = 0; i < MAX_CONFLICTS; i++) {
        try {
          return await this.#write(kind, typeof chooseId === 'string' ? chooseId : chooseId(), update)
        } catch (error) {
          if (!(error instanceof StoreConflict)) throw error
        }
        await this.#catchUp()
      }
      throw new FST_WASM_STORE_FAILED('in Redis', 'others write to it all the time; try again')
    })
  }

  async #write(
    kind: ResourceKind,
    id: string,
    update: (current: StoredResource | undefined) => Readonly<Record<string, unknown>> | undefined
  ): Promise<StoredResource> {
    const objects = this.#stored.get(kind)!
    const current = objects.get(id)
    const value = update(current)
    // What is declared is in effect, and what is stored as well is not.
    const next = this.isDeclared(kind, id) ? this.resources : withResource(this.resources, kind, id, value)
    const commit = this.plans.prepare(next, this.#plugins, this.#turnOf)
    const kept = await this.#store.write(kind, id, value, current?.modifiedIndex ?? 0)
    if (value === undefined) objects.delete(id)
    else objects.set(id, kept)
    commit()
    this.#resources = next
    if (current !== undefined) this.#refused.delete(current)
    this.#leftOut.delete(nameOf({ kind, id }))
    return kept
  }

  /** Others have written to the store. */
  #followLater(): void {
    if (this.#isFollowing) return
    this.#isFollowing = true
    this.#inTurn(async () => {
      this.#isFollowing = false
      if (this.#isClosed) return
      await this.#catchUp()
      if (this.#isBehind) this.#log.info({}, 'what other gateways write is followed again')
      this.#isBehind = false
    }).catch((error: Error) => {
      if (this.#isClosed) return
      if (!this.#isBehind)
        this.#log.error({ err: error }, `what other gateways write is not followed: ${error.message}`)
      this.#isBehind = true
    })
  }

  /** Takes over what others have written to the store; an object that is wrong is logged, and left out. */
  async #catchUp(): Promise<void> {
    const { written, deleted } = await this.#store.changes!()
    if (written.length + deleted.length === 0) return
    const old = this.#keepChanges({ written, deleted })
    const changes = [...deleted.map((object) => ({ ...object, value: undefined })), ...written]
    const names = new Set(changes.map(nameOf))
    const isNew = (object: Change) => names.has(nameOf(object))
    // What was refused or left out may have been for the sake of something that has changed.
    const again = [...this.#refused, ...[...this.#leftOut.values()].map(({ change }) => change)]
    const all = [...changes, ...again.filter((object) => !isNew(object))]
    try {
      this.#take(all)
      return
    } catch {
      // One of them does not go with the application's own routes.
    }
    for (const change of all) {
      try {
        this.#take([change])
      } catch (error) {
        const name = nameOf(change)
        if (!isNew(change)) continue
        // What is in its place may have been left out itself.
        const { before } = this.#leftOut.get(name) ?? { before: old.get(name) }
        this.#leftOut.set(name, { change, before })
        this.#log.error({ err: error }, `the change of ${name} is left out: ${(error as Error).message}`)
      }
    }
  }

  /** @returns what was stored in the places of what has changed, by name */
  #keepChanges({ written, deleted }: StoreChanges): Map<string, StoredResource> {
    const old = new Map<string, StoredResource>()
    for (const { kind, id } of [...written, ...deleted]) {
      const before = this.#stored.get(kind)!.get(id)
      if (before !== undefined) old.set(nameOf(before), before)
    }
    for (const { kind, id } of deleted) this.#stored.get(kind)!.delete(id)
    for (const object of written) this.#stored.get(object.kind)!.set(object.id, object)
    for (const object of old.values()) this.#refused.delete(object)
    return old
  }

  /** Puts changes into effect, all that are right by themselves, or none. */
  #take(changes: readonly Change[]): void {
    const refused = new Set<StoredResource>()
    const next = withChanges(this.resources, (kind, id) => this.isDeclared(kind, id), changes, {
      refused: (change, error) => {
        const object = change as StoredResource
        refused.add(object)
        if (!this.#refused.has(object)) this.#logRefused(object, error)
      },
      dangling: (change, error) => this.#logDangling(change as StoredResource, error)
    })
    this.plans.prepare(next, this.#plugins, this.#turnOf)()
    this.#resources = next
    for (const change of changes) {
      this.#refused.delete(change as StoredResource)
      this.#leftOut.delete(nameOf(change))
    }
    for (const object of refused) this.#refused.add(object)
  }

  /**
   * Reads the files and the modules again and puts what they hold into effect; when anything is wrong, everything stays.
   *
   * @param options in place of those of `register`: what they say of plugins, files and objects. The Admin API, the store
   *   and the foreign functions stay
   * @throws FST_WASM_… with everything that is wrong, and where
   */
  reload(options?: unknown): Promise<void> {
    return this.#inTurn(async () => {
      const next = options === undefined ? this.#options : checkOptions(options)
      const refusedBefore = this.#refused
      const before = this.resources
      await this.#replace(next, await readConfigFiles(next), {
        refused: (object, error) => {
          if (!refusedBefore.has(object)) throw error
        },
        dangling: (object, error) => {
          const known = before[object.kind].get(object.id)
          if (!refusedBefore.has(object) && (known === undefined || !isDangling(before, known))) throw error
          this.#logDangling(object, error)
        }
      })
      for (const { change } of [...this.#leftOut.values()]) {
        try {
          this.#take([change])
        } catch {
          // It is still left out.
        }
      }
      this.#options = next
      if (options !== undefined) this.#watchFiles()
      await this.#watch?.look()
      this.#log.info({ routes: this.plans.size, plugins: this.#plugins.size }, 'the configuration is loaded')
    })
  }

  /** Plugins in use, and those that are replaced as long as exchanges use them. */
  status(): PluginStatus[] {
    return [...new Set([...this.#plugins.values(), ...this.plans.plugins])].map((plugin) => plugin.status())
  }

  /** Whether every plugin that exchanges cannot go on without can serve them; and what is wrong with those that cannot. */
  health(): { healthy: boolean; reasons: string[] } {
    let healthy = true
    const reasons: string[] = []
    for (const [name, plugin] of this.#plugins) {
      const { trouble } = plugin
      if (trouble === undefined) continue
      const isOpen = this.#resources?.plugins.get(name)?.fail === 'open'
      if (!isOpen) healthy = false
      reasons.push(isOpen ? `${trouble} (requests go on without it)` : trouble)
    }
    return { healthy, reasons }
  }

  /** Gives up what waits for the store in vain: who has asked for it has an answer before the server closes. */
  async endWaiting(): Promise<void> {
    if (await this.#isSoonIdle()) return
    await this.#closeStore()
    await this.#isSoonIdle()
  }

  async close(): Promise<void> {
    this.#watch?.close()
    await this.endWaiting()
    // First, so that nothing is written any more.
    await this.#closeStore()
    await this.#inTurn(async () => {
      await Promise.all([this.plans.close(), this.#standing.close()])
    })
  }

  #isSoonIdle(): Promise<boolean> {
    return Promise.race([this.#turn.then(() => true), sleep(LAST_MS, false, { ref: false })])
  }

  async #closeStore(): Promise<void> {
    this.#isClosed = true
    await this.#store.close()
  }

  async #replace(options: Options, files: readonly ConfigFileContent[], problems: StoredProblems): Promise<void> {
    this.#checkEnds(files)
    const declared = loadResources(options, files)
    const refused = new Set<StoredResource>()
    const all = withStored(declared, this.#storedInEffect(), {
      refused: (object, error) => {
        refused.add(object)
        problems.refused(object, error)
      },
      dangling: problems.dangling
    })
    const resources = this.#resources === undefined ? all : keepUnchanged(this.#resources, all)
    const plugins = await loadPlugins(resources.plugins.values(), this.#shared, {
      before: this.#plugins,
      onReady: nowAndThen((ready, of) => {
        this.#log.info({ ready, of }, `modules are compiled: ${ready} of ${of} plugins are ready`)
      })
    })
    const turnOf = this.#turnsWith(declared)
    const commit = this.plans.prepare(resources, plugins, turnOf)
    commit()
    for (const { name, fail } of resources.plugins.values()) plugins.get(name)!.failsOpen = fail === 'open'
    this.#standing.update(resources, plugins)
    this.#declared = declared
    this.#turnOf = turnOf
    this.#resources = resources
    this.#plugins = plugins
    this.#refused = refused
  }

  /**
   * The turns of routes: those that are declared, as they stand there, and then those that are stored, the oldest first. So they
   * are the same in all processes, in whatever order these have come to know them.
   */
  #turnsWith({ routes }: Resources): (route: string) => number {
    const stored = this.#stored.get('routes')!
    const declared = new Map([...routes.keys()].map((id, i) => [id, i - routes.size]))
    return (id) => declared.get(id) ?? stored.get(id)?.createdIndex ?? Number.MAX_SAFE_INTEGER
  }

  /** What is stored, with what stands in place of what is left out. */
  #storedInEffect(): ReadonlyMap<ResourceKind, ReadonlyMap<string, StoredResource>> {
    const all = new Map([...this.#stored].map(([kind, objects]) => [kind, new Map(objects)]))
    for (const { change, before } of this.#leftOut.values()) {
      const objects = all.get(change.kind)!
      if (before === undefined) objects.delete(change.id)
      else objects.set(change.id, before)
    }
    return all
  }

  /** A file that is written in place may be seen half: that is found out where it had an end before, or anything at all. */
  #checkEnds(files: readonly ConfigFileContent[]): void {
    for (const { path, hasEnd, isEmpty } of files) {
      if (!isEmpty) this.#filledFiles.add(path)
      else if (this.#filledFiles.has(path)) {
        throw new FST_WASM_CONFIG_UNREADABLE(path, 'it is empty and was not; is it still being written?')
      }
      if (hasEnd) this.#endedFiles.add(path)
      else if (this.#endedFiles.has(path)) {
        const reason =
          'its last line was #END and is not now; is it still being written? Without #END it is read at a start'
        throw new FST_WASM_CONFIG_UNREADABLE(path, reason)
      }
    }
  }

  #logRefused(object: StoredResource, error: Error): void {
    this.#log.error({ err: error }, `the stored object ${nameOf(object)} is left out: ${error.message}`)
  }

  #logDangling(object: StoredResource, error: Error): void {
    this.#log.error({ err: error }, `the stored object ${nameOf(object)} refers to what is not there: ${error.message}`)
  }

  /** The files, and with them the modules of the plugins. */
  #watchFiles(): void {
    if (configFilesOf(this.#options).length === 0) {
      this.#watch?.close()
      this.#watch = undefined
      return
    }
    const files = () => [
      ...configFilesOf(this.#options),
      ...[...(this.#resources?.plugins.values() ?? [])].flatMap(({ file }) => file ?? [])
    ]
    this.#watch ??= watchFiles(files, () => {
      this.reload().catch((error: Error) => {
        this.#log.error({ err: error }, `the configuration stays as it was: ${error.message}`)
      })
    })
  }

  #inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(action, action)
    this.#turn = result.catch(() => {})
    return result
  }
}

/** Says how far something is that takes longer than that. */
function nowAndThen(say: (ready: number, of: number) => void): (ready: number, of: number) => void {
  let saidAt = performance.now()
  return (ready, of) => {
    if (ready === of || performance.now() - saidAt < PROGRESS_MS) return
    saidAt = performance.now()
    say(ready, of)
  }
}
