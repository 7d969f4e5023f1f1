import type { HostFunctions } from '../abi/host-functions.ts'

/** Thrown out of `proc_exit`, which must not return to the module. */
export class ProcessExit extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`the module called proc_exit(${exitCode})`)
    this.exitCode = exitCode
  }
}

export const process: HostFunctions = {
  proc_exit(exitCode: number): void {
    throw new ProcessExit(exitCode)
  },
  sched_yield: () => 0
}
