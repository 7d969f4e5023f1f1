import { inflateSync } from 'node:zlib'
import { compress } from './compress.ts'

/** A function of the host that filters call by its name: bytes in, bytes or nothing out. They wait for it. */
export type ForeignFunction = (parameters: Buffer) => Uint8Array | undefined

/** Says that the parameters are not what the function reads: the filter is told so, and it is no line in the log. */
export class UnreadableParameters extends Error {}

/** What an uncompressed result may have at most: a few bytes can stand for many. */
const MAX_UNCOMPRESSED = 64 * 1024 * 1024

/** What Envoy has under the same names (source/extensions/common/wasm/foreign.cc), in zlib's format. */
const BUILT_IN: readonly (readonly [string, ForeignFunction])[] = [
  ['compress', compress],
  ['uncompress', uncompress]
]

function uncompress(parameters: Buffer): Buffer {
  try {
    return inflateSync(parameters, { maxOutputLength: MAX_UNCOMPRESSED })
  } catch (error) {
    throw new UnreadableParameters('not what compress answers, or too long', { cause: error })
  }
}

/** The functions that filters find: the user's and those that are built in, of which the user may replace any. */
export function foreignFunctionsWith(own: Iterable<readonly [string, ForeignFunction]>): Map<string, ForeignFunction> {
  return new Map([...BUILT_IN, ...own])
}
