import type { Instance } from '../instance.ts'
import type { Logger } from '../stream.ts'
import { LogLevel, Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** pino's names for the levels of the ABI, 0 to 5. */
const METHODS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/** Writes a line of a filter, through its request's logger when it has a request. */
export function writeLog(instance: Instance, level: number, message: string): void {
  const log: Logger = instance.log
  log[METHODS[level]!]({ plugin: instance.settings.name, context: instance.active?.id }, message)
}

/** "Logging" of the specification. */
export function log(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    proxy_log(level: number, messageData: number, messageSize: number): number {
      if (level >>> 0 > LogLevel.Critical) return Status.BadArgument
      const message = memory.utf8(messageData, messageSize)
      if (message === undefined) {
        // A start section may log before the host can see its memory.
        return memory.size === 0 ? Status.Ok : Status.InvalidMemoryAccess
      }
      writeLog(instance, level, message)
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
