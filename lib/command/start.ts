import { type DeclaredSettings, type SharedSettings, settingsWith } from '../gateway/plugins.ts'
import type { CallHosts } from '../gateway/upstream/call-hosts.ts'
import { schemeOf } from '../gateway/upstream/http-calls.ts'
import { Upstream } from '../gateway/upstream/upstream.ts'
import { Upstreams } from '../gateway/upstream/upstreams.ts'
import {
  foreignFunctionsWith,
  type GrpcClient,
  type HttpCallClient,
  type Logger,
  MemoryQueues,
  MemorySharedData,
  Metrics,
  Plugin,
  type PluginSettings
} from '../host/index.ts'

/** A line that a filter has logged. */
export interface LogLine {
  readonly level: 'info' | 'warn' | 'error' | 'fatal'
  readonly message: string
}

/** What came of a start. */
export interface Start {
  readonly ok: boolean
  /** Why it failed */
  readonly error: string | null
  readonly log: readonly LogLine[]
}

/**
 * Starts an instance of a plugin that nothing else is in, as a gateway would start it, and leaves it.
 *
 * @param configuration absent: the instance alone, without a plugin context
 * @param upstreams the ids that filters may call
 */
export function start(plugin: Plugin, configuration: Buffer | undefined, upstreams: ReadonlySet<string>): Start {
  const log = new StartLog()
  const declared = plugin.settings as PluginSettings & DeclaredSettings
  const own = new Plugin(plugin.module, settingsWith(declared, isolated(log, upstreams)))
  if (configuration === undefined) {
    try {
      own.instance()
    } catch (error) {
      return { ok: false, error: withoutPlugin((error as Error).message), log: log.lines }
    }
    return { ok: true, error: null, log: log.lines }
  }
  const context = own.startContext(configuration)
  // Nobody waits for what it would do later.
  context?.setTickPeriod(0)
  const ok = context !== undefined
  return { ok, error: ok ? null : (log.failure ?? 'it did not start'), log: log.lines }
}

/**
 * What a plugin is given that neither calls nor keeps anything. Calls are taken where a gateway would take them, and never
 * answered: a filter that was refused one might refuse to start, which it would not do in the gateway.
 */
export function isolated(log: Logger, upstreams: ReadonlySet<string>): SharedSettings {
  const upstream = new Upstream({ nodes: {} }, log)
  const known = new Upstreams((id) => (upstreams.has(id) ? upstream : undefined), log)
  const nothing = () => {}
  const httpCalls = (hosts?: CallHosts): HttpCallClient => ({
    dispatch: (call) => known.find(call.upstream, schemeOf(call), hosts) && nothing
  })
  const grpcCalls = (hosts?: CallHosts): GrpcClient => ({
    open: (call) =>
      known.find(call.upstream, 'http', hosts) && { unsent: 0, send: nothing, end: nothing, cancel: nothing }
  })
  return {
    log,
    httpCalls: { ...httpCalls(), within: httpCalls },
    grpcCalls: { ...grpcCalls(), within: grpcCalls },
    sharedData: new MemorySharedData(),
    queues: new MemoryQueues(),
    metrics: new Metrics(),
    foreignFunctions: foreignFunctionsWith([]),
    leases: { of: () => ({ isHeld: false, want: () => nothing }) }
  }
}

/** Keeps what a filter logs, and apart from that why the host says that it failed. */
export class StartLog implements Logger {
  readonly level = 'info'
  readonly lines: LogLine[] = []
  /** The first failure */
  failure: string | undefined

  trace(): void {}

  debug(): void {}

  info(_fields: object, message: string): void {
    this.lines.push({ level: 'info', message })
  }

  warn(_fields: object, message: string): void {
    this.lines.push({ level: 'warn', message })
  }

  error(fields: object, message: string): void {
    const { err } = fields as { err?: Error }
    if (err === undefined) this.lines.push({ level: 'error', message })
    else this.failure ??= withoutPlugin(err.message)
  }

  fatal(_fields: object, message: string): void {
    this.lines.push({ level: 'fatal', message })
  }
}

/** Of an error in a report on a plugin: all of it is about that one. */
export function withoutPlugin(message: string): string {
  return message.replace(/^plugin \[.*?\]:? /, '')
}
