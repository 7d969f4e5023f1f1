import type { Instance } from '../instance.ts'
import { lineOf } from '../log-line.ts'
import { mayLog } from '../log-rate.ts'
import { beginLong } from '../metering/clock.ts'
import type { Logger } from '../stream.ts'
import { LogLevel, Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** pino's names for the levels of the ABI, 0 to 5. */
const METHODS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/** Bytes of a line that takes a while to be written, most of all where many of them are escaped. */
const LONG_LINE = 1024

/**
 * Writes a line of a filter, through its request's logger when it has a request; unless the plugin has logged too much.
 *
 * @param size of the whole line, where `line` is its beginning
 */
export function writeLog(instance: Instance, level: number, line: Buffer, size?: number): void {
  const { log, settings } = instance
  const stream = instance.activeHttpContext?.stream ?? instance.answered?.stream
  settings.observer?.logged?.(settings.name, stream?.request, METHODS[level]!, lineOf(line, size))
  // What the logger leaves out does not count.
  if (!takes(log, level) || !mayLog(settings)) return
  const route = stream?.route
  const fields = { plugin: settings.name, context: instance.active?.id, ...(route !== undefined && { route }) }
  log[METHODS[level]!](fields, lineOf(line, size))
}

/** A logger takes what is not below its level; one that says none, or one of its own making, is given all. */
function takes({ level }: Logger, of: number): boolean {
  return level !== 'silent' && METHODS.indexOf(level as (typeof METHODS)[number]) <= of
}

/** "Logging" of the specification. */
export function log(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    /** Ok also for a line that is cut or dropped: Rust's SDK would trap on any other answer. */
    proxy_log(level: number, messageData: number, messageSize: number): number {
      if (level >>> 0 > LogLevel.Critical) return Status.BadArgument
      const line = memory.view(messageData, messageSize)
      if (line === undefined) {
        // A start section may log before the host can see its memory.
        return memory.size === 0 ? Status.Ok : Status.InvalidMemoryAccess
      }
      if (line.length > LONG_LINE) beginLong()
      writeLog(instance, level, line)
      return Status.Ok
    },

    proxy_get_log_level(returnLevel: number): number {
      if (!memory.has(returnLevel, 4)) return Status.InvalidMemoryAccess
      const level = METHODS.indexOf(instance.log.level as (typeof METHODS)[number])
      // A silent logger takes nothing; the ABI has no level above critical.
      memory.setU32(
        returnLevel,
        instance.log.level === undefined ? LogLevel.Info : level < 0 ? LogLevel.Critical : level
      )
      return Status.Ok
    }
  }
}
