import { Unsupported } from './unsupported.ts'

/** The instructions that metering is concerned with (WebAssembly core specification, 5.4). */
export const Op = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  try: 0x06,
  catch: 0x07,
  throw: 0x08,
  rethrow: 0x09,
  throwRef: 0x0a,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  returnCall: 0x12,
  returnCallIndirect: 0x13,
  callRef: 0x14,
  returnCallRef: 0x15,
  delegate: 0x18,
  catchAll: 0x19,
  tryTable: 0x1f,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  memoryGrow: 0x40,
  i32Const: 0x41,
  i32LtS: 0x48,
  i32Sub: 0x6b,
  i32ShrU: 0x76,
  refFunc: 0xd2,
  brOnNull: 0xd5,
  brOnNonNull: 0xd6,
  /** What has a number behind it: saturating conversions, and operations on whole memories and tables */
  bulk: 0xfc,
  vector: 0xfd
} as const

/** Behind `bulk`. */
export const Bulk = {
  memoryInit: 8,
  dataDrop: 9,
  memoryCopy: 10,
  memoryFill: 11,
  tableInit: 12,
  elemDrop: 13,
  tableCopy: 14,
  tableGrow: 15,
  tableSize: 16,
  tableFill: 17
} as const

/** What is behind the opcode of an instruction that changes neither fuel nor control, as nearly all are; another one is `Other`. */
export const Form = { Other: 0, Bare: 1, Number: 2, Memory: 3 } as const
type Form = (typeof Form)[keyof typeof Form]

/** By opcode. */
export const FORMS: Int8Array = new Int8Array(256)
const setForm = (form: Form, first: number, last: number = first) => FORMS.fill(form, first, last + 1)
setForm(Form.Bare, 0x01) // nop
setForm(Form.Bare, 0x1a, 0x1b) // drop, select
setForm(Form.Number, 0x20, 0x26) // locals, globals, table.get, table.set
setForm(Form.Memory, 0x28, 0x3e) // loads and stores
setForm(Form.Number, 0x3f) // memory.size
setForm(Form.Number, 0x41, 0x42) // i32.const, i64.const
setForm(Form.Bare, 0x45, 0xc4) // comparisons, arithmetic, conversions

/** A number in LEB128, signed or not, of any size: where it ends. */
export function skipNumber(bytes: Uint8Array, at: number): number {
  while (bytes[at++]! >= 128);
  return at
}

/** An unsigned number in LEB128, which ends with the bytes at the latest. */
export function numberAt(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++]!
    value += (byte & 127) * scale
    if (!(byte >= 128)) return value
  }
}

/** A value type, or what stands in place of one: where it ends. `(ref null? heaptype)` has its heap type behind it. */
export function skipType(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!
  return first === 0x63 || first === 0x64 ? skipNumber(bytes, at + 1) : skipNumber(bytes, at)
}

/** Alignment and offset of a load or store: where they end. */
export function skipMemoryArgument(bytes: Uint8Array, at: number): number {
  const hasIndex = (bytes[at]! & 0x40) !== 0
  let end = skipNumber(bytes, at)
  if (hasIndex) end = skipNumber(bytes, end)
  return skipNumber(bytes, end)
}

/**
 * Where an instruction ends.
 *
 * @param at behind its opcode
 * @throws Unsupported for what is not known
 */
export function skipImmediates(bytes: Uint8Array, opcode: number, at: number): number {
  const form = FORMS[opcode]
  if (form === Form.Bare) return at
  if (form === Form.Number) return skipNumber(bytes, at)
  if (form === Form.Memory) return skipMemoryArgument(bytes, at)
  switch (opcode) {
    case 0x00: // unreachable
    case 0x05: // else
    case 0x0a: // throw_ref
    case 0x0b: // end
    case 0x0f: // return
    case 0x19: // catch_all
    case 0xd1: // ref.is_null
    case 0xd3: // ref.eq
    case 0xd4: // ref.as_non_null
      return at
    case 0x02: // block
    case 0x03: // loop
    case 0x04: // if
    case 0x06: // try
      return skipType(bytes, at)
    case 0x07: // catch
    case 0x08: // throw
    case 0x09: // rethrow
    case 0x0c: // br
    case 0x0d: // br_if
    case 0x10: // call
    case 0x12: // return_call
    case 0x14: // call_ref
    case 0x15: // return_call_ref
    case 0x18: // delegate
    case 0x40: // memory.grow
    case 0xd0: // ref.null
    case 0xd2: // ref.func
    case 0xd5: // br_on_null
    case 0xd6: // br_on_non_null
      return skipNumber(bytes, at)
    case 0x11: // call_indirect
    case 0x13: // return_call_indirect
      return skipNumber(bytes, skipNumber(bytes, at))
    case 0x0e: // br_table
      return skipList(bytes, at, 1)
    case 0x1c: // select of a type
      return skipTypes(bytes, at)
    case 0x1f: // try_table
      return skipCatches(bytes, skipType(bytes, at))
    case 0x43: // f32.const
      return at + 4
    case 0x44: // f64.const
      return at + 8
    case 0xfc:
      return skipBulk(bytes, at)
    case 0xfd:
      return skipVector(bytes, at)
    case 0xfe:
      return skipAtomic(bytes, at)
    default:
      throw new Unsupported(`the instruction 0x${opcode.toString(16).padStart(2, '0')}`)
  }
}

/** Numbers with their count in front of them, and some more behind them. */
function skipList(bytes: Uint8Array, at: number, more: number): number {
  let end = skipNumber(bytes, at)
  for (let count = numberAt(bytes, at) + more; count > 0; count--) end = skipNumber(bytes, end)
  return end
}

function skipTypes(bytes: Uint8Array, at: number): number {
  let end = skipNumber(bytes, at)
  for (let count = numberAt(bytes, at); count > 0; count--) end = skipType(bytes, end)
  return end
}

/** Of `try_table`: a kind, for two of the four kinds a tag, and a label. */
function skipCatches(bytes: Uint8Array, at: number): number {
  let end = skipNumber(bytes, at)
  for (let count = numberAt(bytes, at); count > 0; count--) {
    const kind = bytes[end++]!
    if (kind < 2) end = skipNumber(bytes, end)
    end = skipNumber(bytes, end)
  }
  return end
}

function skipBulk(bytes: Uint8Array, at: number): number {
  const code = numberAt(bytes, at)
  const end = skipNumber(bytes, at)
  if (code <= 7) return end // saturating conversions
  switch (code) {
    case 8: // memory.init
    case 10: // memory.copy
    case 12: // table.init
    case 14: // table.copy
      return skipNumber(bytes, skipNumber(bytes, end))
    case 9: // data.drop
    case 11: // memory.fill
    case 13: // elem.drop
    case 15: // table.grow
    case 16: // table.size
    case 17: // table.fill
      return skipNumber(bytes, end)
    default:
      throw new Unsupported(`the instruction 0xfc ${code}`)
  }
}

function skipVector(bytes: Uint8Array, at: number): number {
  const code = numberAt(bytes, at)
  const end = skipNumber(bytes, at)
  if (code <= 11 || code === 92 || code === 93) return skipMemoryArgument(bytes, end) // loads and stores
  if (code === 12 || code === 13) return end + 16 // v128.const, i8x16.shuffle
  if (code >= 21 && code <= 34) return end + 1 // lanes
  if (code >= 84 && code <= 91) return skipMemoryArgument(bytes, end) + 1 // loads and stores of lanes
  if (code <= 0x113) return end
  throw new Unsupported(`the instruction 0xfd ${code}`)
}

function skipAtomic(bytes: Uint8Array, at: number): number {
  const code = numberAt(bytes, at)
  const end = skipNumber(bytes, at)
  if (code === 3) return end + 1 // atomic.fence
  if (code <= 0x4e) return skipMemoryArgument(bytes, end)
  throw new Unsupported(`the instruction 0xfe ${code}`)
}
