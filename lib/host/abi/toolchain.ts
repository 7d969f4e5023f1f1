import type { Instance } from '../instance.ts'
import { LogLevel } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'
import { writeLog } from './log.ts'

/** What compilers and their runtimes import from `env` besides the specification's functions. */
export function toolchain(instance: Instance): HostFunctions {
  const { memory } = instance

  /** AssemblyScript's strings are UTF-16, their size in bytes stands in the four bytes before them. */
  function assemblyScriptString(pointer: number): string {
    if (!memory.has(pointer - 4, 4)) return ''
    return memory.view(pointer, memory.u32(pointer - 4))?.toString('utf16le') ?? ''
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
      writeLog(instance, LogLevel.Critical, text)
      throw new Error(text)
    },
    seed: () => Math.random(),
    trace(message: number): void {
      writeLog(instance, LogLevel.Trace, assemblyScriptString(message))
    }
  }
}
