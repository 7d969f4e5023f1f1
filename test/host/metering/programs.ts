import fc from 'fast-check'

// Random programs as text of WebAssembly. They end by themselves: loops count down, and functions call those after them only.

const FUNCTIONS = 4
/** Parameters and locals of every function: i32, i32, i64, f64, and i32 that loops count down. */
const LOCALS = { i32: [0, 1, 4], i64: [2], f64: [3] } as const
const COUNTERS = [5, 6, 7]

type Type = 'i32' | 'i64' | 'f64'

interface Scope {
  /** Of the function that is generated */
  readonly index: number
  readonly depth: number
  /** How many loops stand around */
  readonly loops: number
  /** Labels that may be branched to forward: their names */
  readonly labels: readonly string[]
}

const BINARY: Record<Type, readonly string[]> = {
  i32: ['add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr_s', 'shr_u', 'rotl', 'lt_s', 'gt_u', 'eq', 'ne'],
  i64: ['add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr_u', 'rotr'],
  f64: ['add', 'sub', 'mul', 'div', 'min', 'max', 'copysign']
}
const UNARY: Record<Type, readonly string[]> = {
  i32: ['clz', 'ctz', 'popcnt', 'eqz', 'extend8_s', 'extend16_s'],
  i64: ['clz', 'ctz', 'popcnt', 'extend32_s'],
  f64: ['abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt']
}
const CONVERSIONS: Record<Type, readonly string[]> = {
  i32: ['(i32.wrap_i64 @i64)', '(i32.trunc_sat_f64_s @f64)', '(i64.eqz @i64)', '(f64.lt @f64 @f64)'],
  i64: ['(i64.extend_i32_s @i32)', '(i64.trunc_sat_f64_u @f64)', '(i64.reinterpret_f64 @f64)'],
  f64: ['(f64.convert_i32_u @i32)', '(f64.convert_i64_s @i64)']
}

/** Draws from a stream of random numbers, so that a smaller stream is a smaller program. */
class Drawing {
  readonly #numbers: readonly number[]
  #at = 0
  #label = 0

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers
  }

  below(limit: number): number {
    return (this.#numbers[this.#at++] ?? 0) % limit
  }

  one<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!
  }

  label(): string {
    return `$l${this.#label++}`
  }

  get isOver(): boolean {
    return this.#at >= this.#numbers.length
  }
}

function expression(draw: Drawing, type: Type, scope: Scope): string {
  const deeper = { ...scope, depth: scope.depth + 1 }
  if (draw.isOver || scope.depth > 6) return `(local.get ${draw.one(LOCALS[type])})`
  switch (draw.below(9)) {
    case 0:
      return `(${type}.const ${draw.below(2000) - 1000})`
    case 1:
      return `(local.get ${draw.one(LOCALS[type])})`
    case 2:
    case 3:
      return `(${type}.${draw.one(BINARY[type])} ${expression(draw, type, deeper)} ${expression(draw, type, deeper)})`
    case 4:
      return `(${type}.${draw.one(UNARY[type])} ${expression(draw, type, deeper)})`
    case 5:
      return draw.one(CONVERSIONS[type]).replace(/@(\w+)/g, (_all, other: Type) => expression(draw, other, deeper))
    case 6:
      return `(${type}.load offset=${draw.below(64)} ${address(draw, deeper)})`
    case 7: {
      const condition = expression(draw, 'i32', deeper)
      return `(select ${expression(draw, type, deeper)} ${expression(draw, type, deeper)} ${condition})`
    }
    default:
      return type === 'i32' ? call(draw, deeper) : `(global.get $${type})`
  }
}

const address = (draw: Drawing, scope: Scope) => `(i32.and ${expression(draw, 'i32', scope)} (i32.const 0xfff0))`

function call(draw: Drawing, scope: Scope): string {
  const callee = scope.index + 1 + draw.below(2)
  if (callee >= FUNCTIONS) return '(call $host (local.get 0))'
  const parameters = (['i32', 'i32', 'i64', 'f64'] as const).map((type) => expression(draw, type, scope)).join(' ')
  return draw.below(2) === 0
    ? `(call $f${callee} ${parameters})`
    : `(call_indirect (type $f) ${parameters} (i32.const ${callee}))`
}

function statements(draw: Drawing, scope: Scope): string {
  const lines: string[] = []
  for (let count = 1 + draw.below(4); count > 0; count--) lines.push(statement(draw, scope))
  return lines.join('\n')
}

function statement(draw: Drawing, scope: Scope): string {
  const deeper = { ...scope, depth: scope.depth + 1 }
  const type = draw.one(['i32', 'i64', 'f64'] as const)
  if (draw.isOver || scope.depth > 5) return `(local.set 0 (i32.add (local.get 0) (i32.const 1)))`
  switch (draw.below(12)) {
    case 0:
    case 1:
      return `(local.set ${draw.one(LOCALS[type])} ${expression(draw, type, deeper)})`
    case 2:
      return `(global.set $${type} ${expression(draw, type, deeper)})`
    case 3:
      return `(${type}.store offset=${draw.below(64)} ${address(draw, deeper)} ${expression(draw, type, deeper)})`
    case 4:
      return `(if ${expression(draw, 'i32', deeper)} (then ${statements(draw, deeper)}) (else ${statements(draw, deeper)}))`
    case 5: {
      const label = draw.label()
      return `(block ${label} ${statements(draw, { ...deeper, labels: [...scope.labels, label] })})`
    }
    case 6:
    case 7: {
      const counter = COUNTERS[scope.loops]
      if (counter === undefined) return '(nop)'
      const label = draw.label()
      const body = statements(draw, { ...deeper, loops: scope.loops + 1 })
      return `(local.set ${counter} (i32.const ${1 + draw.below(12)}))
        (loop ${label} ${body}
          (br_if ${label} (local.tee ${counter} (i32.sub (local.get ${counter}) (i32.const 1)))))`
    }
    case 8: {
      if (scope.labels.length === 0) return '(nop)'
      return `(br_if ${draw.one(scope.labels)} ${expression(draw, 'i32', deeper)})`
    }
    case 9: {
      if (scope.labels.length === 0) return '(nop)'
      const labels = Array.from({ length: 1 + draw.below(3) }, () => draw.one(scope.labels)).join(' ')
      return `(br_table ${labels} ${expression(draw, 'i32', deeper)})`
    }
    case 10:
      return bulk(draw, deeper)
    default:
      return `(drop ${call(draw, deeper)})`
  }
}

function bulk(draw: Drawing, scope: Scope): string {
  const count = `(i32.and ${expression(draw, 'i32', scope)} (i32.const 0xff))`
  switch (draw.below(4)) {
    case 0:
      return `(memory.fill ${address(draw, scope)} ${expression(draw, 'i32', scope)} ${count})`
    case 1:
      return `(memory.copy ${address(draw, scope)} ${address(draw, scope)} ${count})`
    case 2:
      return `(memory.init $data ${address(draw, scope)} (i32.const ${draw.below(4)}) (i32.const ${draw.below(4)}))`
    default:
      return `(drop (memory.grow (i32.and ${expression(draw, 'i32', scope)} (i32.const 1))))`
  }
}

function programOf(numbers: readonly number[]): string {
  const draw = new Drawing(numbers)
  const functions = Array.from({ length: FUNCTIONS }, (_, index) => {
    const scope = { index, depth: 0, loops: 0, labels: [] }
    return `(func $f${index} (export "f${index}") (type $f) (local i32 i32 i32 i32)
      ${statements(draw, scope)}
      ${expression(draw, 'i32', scope)})`
  })
  return `(module
    (type $f (func (param i32 i32 i64 f64) (result i32)))
    (import "env" "host" (func $host (param i32) (result i32)))
    (memory (export "memory") 2 8)
    (data $data "abcdefgh")
    (table funcref (elem ${functions.map((_, i) => `$f${i}`).join(' ')}))
    (global $i32 (export "i32") (mut i32) (i32.const 1))
    (global $i64 (export "i64") (mut i64) (i64.const 2))
    (global $f64 (export "f64") (mut f64) (f64.const 3))
    ${functions.join('\n')})`
}

/** Random programs: functions f0, f1, … of `(i32, i32, i64, f64) -> i32`. */
export const programs: fc.Arbitrary<string> = fc
  .array(fc.nat({ max: 65_535 }), { minLength: 20, maxLength: 400 })
  .map(programOf)
