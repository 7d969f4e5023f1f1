// The parts of the WebAssembly JavaScript interface that the host uses. Only the DOM's library types it, and
// with that library the names of a browser (`self`, `location`, …) would be in scope.
declare namespace WebAssembly {
  type ExternKind = 'function' | 'global' | 'memory' | 'table' | 'tag'

  class Module {
    constructor(bytes: Uint8Array)
    static exports(module: Module): { name: string; kind: ExternKind }[]
    static imports(module: Module): { module: string; name: string; kind: ExternKind }[]
  }

  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>)
    readonly exports: Record<string, unknown>
  }

  class Memory {
    constructor(descriptor: { initial: number; maximum?: number })
    readonly buffer: ArrayBuffer
    grow(pages: number): number
  }

  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}

  function validate(bytes: Uint8Array): boolean
  function compile(bytes: Uint8Array): Promise<Module>
}
