/** Thrown out of `proc_exit`, which must not return to the module. */
export class ProcessExit extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`the module called proc_exit(${exitCode})`)
    this.exitCode = exitCode
  }
}
