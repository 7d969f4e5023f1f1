import type { Instance } from '../instance.ts'
import { MAX_LINE } from '../limits.ts'
import { lineOf } from '../log-line.ts'
import { LogLevel } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'
import { writeLog } from './log.ts'

/** What compilers and their runtimes import from `env` besides the specification's functions. */
export function toolchain(instance: Instance): HostFunctions {
  const { memory } = instance

  /** AssemblyScript's strings are UTF-16, their size in bytes stands in the four bytes before them. */
  function assemblyScriptString(pointer: number): string {
    if (!memory.has(pointer - 4, 4)) return ''
    const size = memory.u32(pointer - 4)
    return memory.view(pointer, size)?.toString('utf16le', 0, Math.min(size, MAX_LINE)) ?? ''
  }

  return {
    // Emscripten; the views on the memory look after themselves.
    emscripten_notify_memory_growth(): void {},
    pthread_equal: (a: number, b: number) => (a === b ? 1 : 0),
    // AssemblyScript
    abort(message?: number, file = 0, line = 0, column = 0): void {
      // Emscripten's has no parameters.
      const text =
        message === undefined
          ? 'abort'
          : `abort: ${assemblyScriptString(message)} at ${assemblyScriptString(file)}:${line}:${column}`
      writeLog(instance, LogLevel.Critical, Buffer.from(text))
      throw new Error(lineOf(Buffer.from(text)))
    },
    seed: () => Math.random(),
    trace(message: number): void {
      writeLog(instance, LogLevel.Trace, Buffer.from(assemblyScriptString(message)))
    }
  }
}
