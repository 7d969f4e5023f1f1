// Modules byte by byte, for what is too large for a text.

const I32 = 0x7f
/** `() -> ()`, `(i32) -> i32`, `(i32, i32, i32) -> i32` */
const TYPES = [
  [0x60, 0, 0],
  [0x60, 1, I32, 1, I32],
  [0x60, 3, I32, I32, I32, 1, I32]
]
/** `proxy_on_request_headers`, the marker of the ABI, `malloc` */
const FUNCTIONS = [2, 0, 1]
/** The index of the function that has the marker of the ABI: it does nothing. */
export const NOTHING = 1

/** An unsigned number in LEB128. */
export function leb(number: number): number[] {
  const bytes: number[] = []
  let rest = number
  while (rest > 127) {
    bytes.push((rest & 127) | 128)
    rest >>>= 7
  }
  return [...bytes, rest]
}

export const bytesOf = (parts: readonly (readonly number[] | Uint8Array)[]) =>
  Buffer.concat(parts.map((part) => Buffer.from(part)))

/** The same instructions again and again. */
export function repeated(instructions: readonly number[], times: number): Buffer {
  return Buffer.alloc(instructions.length * times, Buffer.from(instructions))
}

export function section(id: number, items: readonly (readonly number[] | Uint8Array)[]): Buffer {
  const content = bytesOf([leb(items.length), ...items])
  return bytesOf([[id], leb(content.length), content])
}

function exported(name: string, kind: number, index: number): Buffer {
  return bytesOf([leb(name.length), Buffer.from(name), [kind, index]])
}

export function functionOf(locals: number, ...code: (readonly number[] | Uint8Array)[]): Buffer {
  const body = bytesOf([locals === 0 ? [0] : [1, ...leb(locals), I32], ...code, [0x0b]])
  return bytesOf([leb(body.length), body])
}

export function rawModule(...sections: Uint8Array[]): Buffer {
  return bytesOf([[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], ...sections])
}

/**
 * A filter whose `proxy_on_request_headers` has so many locals besides its three parameters, and does what `code` says,
 * which leaves an i32.
 */
export function rawFilter(locals: number, ...code: (readonly number[] | Uint8Array)[]): Buffer {
  return rawModule(
    section(1, TYPES),
    section(
      3,
      FUNCTIONS.map((type) => [type])
    ),
    section(5, [[0, 1]]),
    section(7, [
      exported('memory', 2, 0),
      exported('proxy_on_request_headers', 0, 0),
      exported('proxy_abi_version_0_2_1', 0, 1),
      exported('malloc', 0, 2)
    ]),
    section(10, [functionOf(locals, ...code), functionOf(0), functionOf(0, [0x41, 0x80, 0x08])])
  )
}
