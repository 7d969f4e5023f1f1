/**
 * Host functions by their specified name. WebAssembly hands over i32 as signed numbers and i64 as BigInt, and takes the
 * result as a status.
 */
// biome-ignore lint/suspicious/noExplicitAny: each function has the parameters that the specification gives it
export type HostFunctions = Record<string, (...parameters: any[]) => unknown>
