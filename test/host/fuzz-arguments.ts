import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { CANARY, HEAP, type Import, MAX_ARGUMENTS, WINDOW } from './fuzz-guest.ts'
import type { Random } from './fuzz-random.ts'

const SLOT = 256
const message = (field: string) => Buffer.concat([Buffer.from([10, field.length]), Buffer.from(field)])
const u32s = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer)

/** What stands in the window, each at a slot of its own: what is right for some function. */
const TEXTS: readonly Buffer[] = [
  'x-name',
  'value',
  ':path',
  '/new',
  ':status',
  'upstream',
  'unknown',
  'queue',
  'compress',
  'uncompress',
  'a\0b',
  'plugin_name',
  'wasm_process_req_body',
  'wasm_process_resp_body',
  'x-evil\r\n',
  '',
  serializePairs([':method', 'GET', ':path', '/', ':authority', 'a.example']),
  serializePairs([':method', 'GET', ':path', '/', ':authority', 'a.example', 'x-name', '1']),
  serializePairs(['x-name', '1', 'x-other', '2']),
  serializePairs([':status', '404', 'x-name', '1']),
  serializePairs(['x-evil\r\n', '1']),
  u32s(0),
  u32s(0xffffffff, 1, 1),
  // Serialized as GrpcService.
  message(message('upstream').toString('latin1')),
  // Vectors for fd_write, the last two over all of the memory and past its end.
  u32s(1024, 6, 1280, 5),
  u32s(0, 0x20000, 0xfffffff0, 0xffffffff),
  // A subscription of a clock.
  u32s(...new Array(12).fill(0))
].map((text) => Buffer.from(text as string))

const CELLS = WINDOW.from + TEXTS.length * SLOT
const SLOTS: readonly (readonly [number, number])[] = TEXTS.map((text, i) => [WINDOW.from + i * SLOT, text.length])
/** An empty text, which is an empty map too, and serialized pairs: calls need two of them. */
const MAPS = [15, 17, 18].map((i) => SLOTS[i]!)
/** How many pointers with sizes functions have: those with four are the calls. */
const PAIRS = [0, 1, 1, 2, 2, 3, 4, 4, 4, 5, 6]
const EDGES = [-1, -2, -4, -8, -16, 0x7fffffff, -0x80000000, 0x10000000, 0x20000000, 65535, 65536]

/** The bytes of the window. */
export const WINDOW_BYTES: Buffer = Buffer.alloc(WINDOW.to - WINDOW.from)
for (const [i, text] of TEXTS.entries()) text.copy(WINDOW_BYTES, i * SLOT)

/**
 * Makes the arguments of a call: pointers and sizes that are right, edge values, ids that may exist, and anything.
 *
 * @param ids that the host has answered
 */
export function argumentsOf(
  { shape, isRight }: Import,
  random: Random,
  memorySize: number,
  ids: readonly number[]
): (number | bigint)[] {
  const args: (number | bigint)[] = []
  const isLikely = isRight && random.percent(80)
  // One that is wrong among others that are right gets further than all of them wrong.
  const wrong = random.percent(30) ? random.below(MAX_ARGUMENTS) : -1
  // Functions take pointers and sizes of what they read first, or behind one number, and then cells for their answer.
  const first = random.below(2)
  const pairs = random.pick(PAIRS)
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 'i64') args.push(random.percent(50) ? BigInt(random.below(4)) - 2n : random.u64())
    else if (!isLikely) args.push(scalar(random, memorySize))
    else if (i < first) args.push(ids.length > 0 && random.percent(50) ? random.pick(ids) : random.below(4))
    else if (i < first + pairs * 2 && (i - first) % 2 === 0 && shape[i + 1] === 'i32') {
      args.push(...random.pick(random.percent(60) ? MAPS : SLOTS))
      i++
    } else args.push(CELLS + random.below(64) * 4)
  }
  if (isLikely && typeof args[wrong] === 'number') args[wrong] = scalar(random, memorySize)
  return args.slice(0, MAX_ARGUMENTS)
}

/** Whether there a host function may have written what it has answered. */
export function isCell(pointer: number): boolean {
  return pointer >= CELLS && pointer < CELLS + 256
}

function scalar(random: Random, memorySize: number): number {
  const kind = random.below(20)
  if (kind < 6) return random.below(4)
  if (kind < 8) return random.below(16)
  if (kind < 11) return random.pick(EDGES)
  if (kind < 14) return memorySize - 16 + random.below(20)
  if (kind < 18) return WINDOW.from + random.below(WINDOW.to - WINDOW.from)
  return inside(random.u32())
}

/** No pointer that is made by chance names the canary, or the calls themselves. */
function inside(value: number): number {
  const isFree = value < 16 || (value >= WINDOW.from && value <= WINDOW.to) || value >= HEAP
  return isFree ? value : WINDOW.from + (value % (WINDOW.to - WINDOW.from))
}

/** What stands in the canary. */
export const CANARY_BYTES: Buffer = Buffer.alloc(CANARY.to - CANARY.from, 'canary ')
