import type { Instance } from '../instance.ts'
import { DEFAULT_LIMITS } from '../limits.ts'
import { lineOf } from '../log-line.ts'
import { mayLog } from '../log-rate.ts'
import { Memory } from '../memory.ts'
import { endLong, isLong, wasStopped } from '../metering/clock.ts'
import type { PluginSettings } from '../plugin-settings.ts'
import { ProcessExit } from '../wasi/process-exit.ts'
import { createWasi, Errno } from '../wasi/wasi.ts'
import { buffers } from './buffers.ts'
import { callStatus } from './call-status.ts'
import { configuration } from './configuration.ts'
import { Status } from './constants.ts'
import { contexts } from './contexts.ts'
import { foreignFunctions } from './foreign-functions.ts'
import { grpcCalls } from './grpc-calls.ts'
import { headerMaps } from './header-maps.ts'
import type { HostFunctions } from './host-functions.ts'
import { httpCalls } from './http-calls.ts'
import { log } from './log.ts'
import { metrics } from './metrics.ts'
import { properties } from './properties.ts'
import { queues } from './queues.ts'
import { sharedData } from './shared-data.ts'
import { streamControl } from './stream-control.ts'
import { time } from './time.ts'
import { timers } from './timers.ts'
import { toolchain } from './toolchain.ts'

/** One entry per family of the specification. All of them serve every ABI version. */
const FAMILIES = [
  log,
  headerMaps,
  buffers,
  properties,
  streamControl,
  httpCalls,
  grpcCalls,
  callStatus,
  sharedData,
  queues,
  metrics,
  timers,
  foreignFunctions,
  configuration,
  time,
  contexts
] satisfies ((instance: Instance) => HostFunctions)[]

/** What a module may call while it is initialized, besides WASI. */
const ANY_TIME: readonly ((instance: Instance) => HostFunctions)[] = [log, properties]

/**
 * The imports of an instance: what its module asks for, and nothing else. What the host does not have, or the plugin may
 * not call, becomes a stub, so that a module loads whatever it names; calling one answers Unimplemented, and warns once.
 */
export function createImports(instance: Instance): Record<string, Record<string, unknown>> {
  const known = hostFunctions(instance)
  // A module chooses these names. `__proto__` or `constructor` must not lead to an object of JavaScript's own: to change
  // one, or to have its functions as imports.
  const imports: Record<string, Record<string, unknown>> = Object.create(null)
  const add = (module: string, name: string, value: unknown) => {
    imports[module] ??= Object.create(null) as Record<string, unknown>
    imports[module][name] = value
  }
  for (const { module, name } of instance.module.imports) {
    add(module, name, importOf(instance, known, module, name))
  }
  for (const { module, name, ...limits } of instance.module.importedMemories) {
    add(module, name, new WebAssembly.Memory(limits))
  }
  return imports
}

/** Enough of an instance to have a table for the names in it: nothing of that is ever called. */
const NOBODY = {
  memory: new Memory(),
  settings: { environment: {}, sharedData: {}, queues: {}, metrics: {} },
  limits: DEFAULT_LIMITS
} as unknown as Instance
let table: Record<string, HostFunctions> | undefined

/** Whether this host has a function; a module that imports another one is given a stub. */
export function hasHostFunction(module: string, name: string): boolean {
  table ??= hostFunctions(NOBODY)
  return find(table, module, name) !== undefined
}

/** The names of all host functions, by the modules that they are imported from. */
export function hostFunctionNames(): Record<string, string[]> {
  table ??= hostFunctions(NOBODY)
  return Object.fromEntries(Object.entries(table).map(([module, functions]) => [module, Object.keys(functions)]))
}

/** What the runtimes of languages are built on: they stop at nothing that these could answer. */
const VITAL: ReadonlySet<string> = new Set([...Object.keys(toolchain(NOBODY)), 'proc_exit'])

/** What a module is given for an import. */
function importOf(
  instance: Instance,
  known: Record<string, HostFunctions>,
  module: string,
  name: string
): HostFunctions[string] {
  const hostFunction = find(known, module, name)
  if (hostFunction === undefined) return stub(instance, module, name, 'which this host does not have')
  const { settings } = instance
  const { allow } = settings
  if (allow === undefined || VITAL.has(name)) return hostFunction
  if (!('note' in allow)) {
    return allow.has(name) ? hostFunction : stub(instance, module, name, 'which its `allow` does not list')
  }
  return (...parameters) => {
    allow.note(name, settings)
    return hostFunction(...parameters)
  }
}

/** All host functions, by the modules that they are imported from. */
function hostFunctions(instance: Instance): Record<string, HostFunctions> {
  const env: HostFunctions = toolchain(instance)
  // Aborts throw on purpose: what toolchains import stands outside of the guard.
  for (const family of FAMILIES) {
    const anyTime = ANY_TIME.includes(family)
    addGuarded(env, instance, family(instance), anyTime, Status.InternalFailure)
  }
  const wasi: HostFunctions = {}
  addGuarded(wasi, instance, createWasi(instance), true, Errno.Io)
  return { env, wasi_snapshot_preview1: wasi, wasi_unstable: wasi }
}

function find(known: Record<string, HostFunctions>, module: string, name: string): HostFunctions[string] | undefined {
  const functions = Object.hasOwn(known, module) ? known[module]! : {}
  return Object.hasOwn(functions, name) ? functions[name] : undefined
}

function addGuarded(
  to: HostFunctions,
  instance: Instance,
  functions: HostFunctions,
  anyTime: boolean,
  failure: number
): void {
  for (const [name, hostFunction] of Object.entries(functions)) {
    to[name] = guard(instance, name, hostFunction, anyTime, failure)
  }
}

/**
 * Makes a host function total: whatever goes wrong in it is a status for the module, not an exception through its stack,
 * which would leave it half done. Only what has ended the instance passes, and what ends it: that its time is over, or that
 * the stack is full. Then the host function may be half done itself, and the module could have that again and again.
 *
 * @param anyTime whether it may be called while the module is initialized, when there is no context that it could act for
 */
function guard(
  instance: Instance,
  name: string,
  hostFunction: HostFunctions[string],
  anyTime: boolean,
  failure: number
): HostFunctions[string] {
  // No function has more parameters, and a list of them would be made anew for each call.
  return (a, b, c, d, e, f, g, h, i, j, k, l) => {
    if (!anyTime && instance.current === undefined) {
      const { settings, log } = instance
      if (mayLog(settings)) log.warn({ plugin: settings.name }, `the filter called ${name} while it was initialized`)
      return failure
    }
    // A module that has caught that its time is over is let do nothing more.
    if (wasStopped()) throw new Error('its time is over')
    let result: unknown
    try {
      result = hostFunction(a, b, c, d, e, f, g, h, i, j, k, l)
    } catch (error) {
      if (instance.failure !== undefined || error instanceof ProcessExit) throw error
      if (isStackOverflow(error)) {
        instance.fail(instance.entry, error)
        throw error
      }
      const { settings, active } = instance
      if (mayLog(settings)) {
        instance.log.error({ plugin: settings.name, context: active?.id, err: error }, `${name} failed in the host`)
      }
      result = failure
    }
    if (isLong) endLong()
    return result
  }
}

function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message === 'Maximum call stack size exceeded'
}

/** By the settings, which all instances of a plugin have in common: what it has been warned of. */
const warnings: WeakMap<PluginSettings, Set<string>> = new WeakMap()

function warnedOf(settings: PluginSettings): Set<string> {
  let warned = warnings.get(settings)
  if (warned === undefined) {
    warned = new Set()
    warnings.set(settings, warned)
  }
  return warned
}

function stub(instance: Instance, module: string, name: string, reason: string): HostFunctions[string] {
  // As text it converts to whatever type the module declares, a 64-bit integer too.
  const answer = String(module.startsWith('wasi') ? Errno.NoSys : Status.Unimplemented)
  const { settings } = instance
  const key = `${module}.${name}`
  return () => {
    const warned = warnedOf(settings)
    if (!warned.has(key)) {
      warned.add(key)
      const fields = { plugin: settings.name, context: instance.active?.id }
      if (mayLog(settings)) instance.log.warn(fields, `the filter called ${lineOf(Buffer.from(key))}, ${reason}`)
    }
    return answer
  }
}
