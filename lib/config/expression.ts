import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { compileAddresses } from './addresses.ts'

/** Answers the value of a variable, `undefined` where it has none. */
export type Variables = (name: string) => string | undefined
/** Whether an expression holds. */
export type Expression = (variable: Variables) => boolean

type Test = (value: string | undefined) => boolean

const LOGIC: ReadonlySet<unknown> = new Set(['AND', 'OR', '!AND', '!OR'])
/** What APISIX reads from the body of the request, which is not there when routes are matched. */
const FROM_THE_BODY = /^(?:post_arg|graphql_)/

/**
 * Compiles `vars`, the expressions of lua-resty-expr: a list of `[variable, operator, value]`, all of which must hold, or
 * `['OR', …]` and its like, nested. `!` in front of the operator turns it round. An empty list always holds.
 *
 * @throws FST_WASM_OPTIONS_INVALID naming the place: an operator that is none, a bad regular expression, a wrong shape
 */
export function compileVars(vars: unknown, place: string): Expression {
  if (!Array.isArray(vars)) throw wrong(place, 'must be a list of expressions')
  const logic = logicOf(vars[0])
  if (logic !== undefined) return compileLogic(logic, vars.slice(1), place, 1)
  if (typeof vars[0] === 'string') throw wrong(place, 'an expression must stand in brackets of its own')
  return compileLogic('AND', vars, place, 0)
}

/** As lua-resty-expr, in capitals or not. */
function logicOf(word: unknown): string | undefined {
  const upper = typeof word === 'string' ? word.toUpperCase() : undefined
  return LOGIC.has(upper) ? upper : undefined
}

function compileLogic(logic: string, expressions: readonly unknown[], place: string, offset: number): Expression {
  const compiled = expressions.map((expression, i) => compileOne(expression, `${place}[${i + offset}]`))
  if (offset > 0 && compiled.length < 2) throw wrong(place, `${logic} needs two expressions or more`)
  switch (logic) {
    case 'OR':
      return (variable) => compiled.some((expression) => expression(variable))
    case '!OR':
      return (variable) => !compiled.some((expression) => expression(variable))
    case '!AND':
      return (variable) => !compiled.every((expression) => expression(variable))
    default:
      return (variable) => compiled.every((expression) => expression(variable))
  }
}

function compileOne(expression: unknown, place: string): Expression {
  if (!Array.isArray(expression)) throw wrong(place, 'must be [variable, operator, value]')
  const [name, ...rest] = expression
  const logic = logicOf(name)
  if (logic !== undefined) return compileLogic(logic, rest, place, 1)
  if (Array.isArray(name)) return compileLogic('AND', expression, place, 0)
  const negated = rest[0] === '!'
  const [operator, value, ...more] = negated ? rest.slice(1) : rest
  if (typeof name !== 'string' || name === '') throw wrong(`${place}[0]`, 'must be the name of a variable')
  if (FROM_THE_BODY.test(name)) throw wrong(`${place}[0]`, `the variable ${name} is not supported`)
  if (typeof operator !== 'string' || more.length > 0) throw wrong(place, 'must be [variable, operator, value]')
  const test = compileOperator(operator, value, `${place}[${negated ? 2 : 1}]`, `${place}[${negated ? 3 : 2}]`)
  return negated ? (variable) => !test(variable(name)) : (variable) => test(variable(name))
}

function compileOperator(operator: string, value: unknown, operatorPlace: string, place: string): Test {
  switch (operator.toLowerCase()) {
    case '==':
      return equals(value, place)
    case '~=': {
      const equal = equals(value, place)
      return (actual) => !equal(actual)
    }
    case '>':
      return compare(value, place, (a, b) => a > b)
    case '>=':
      return compare(value, place, (a, b) => a >= b)
    case '<':
      return compare(value, place, (a, b) => a < b)
    case '<=':
      return compare(value, place, (a, b) => a <= b)
    case '~~':
      return matches(value, 'u', place)
    case '~*':
      return matches(value, 'iu', place)
    case 'in': {
      if (!Array.isArray(value)) throw wrong(place, 'must be a list')
      const tests = value.map((item, i) => equals(item, `${place}[${i}]`))
      return (actual) => tests.some((test) => test(actual))
    }
    case 'has': {
      if (typeof value !== 'string') throw wrong(place, 'must be a text')
      // A variable is one text here; that of several is split by commas, as headers are.
      return (actual) => actual?.split(',').some((item) => item.trim() === value) === true
    }
    case 'ipmatch': {
      const list = typeof value === 'string' ? [value] : value
      if (!Array.isArray(list)) throw wrong(place, 'must be an IP address or network, or a list of them')
      const contains = compileAddresses(list, place)
      return (actual) => actual !== undefined && contains(actual)
    }
    default:
      throw wrong(operatorPlace, `${JSON.stringify(operator)} is no operator`)
  }
}

/** A number is compared as one; `null` is a variable without a value. */
function equals(value: unknown, place: string): Test {
  if (value === null || value === undefined) return (actual) => actual === undefined
  if (typeof value === 'number') return (actual) => numberOf(actual) === value
  if (typeof value === 'boolean') return (actual) => actual === String(value)
  if (typeof value !== 'string') throw wrong(place, 'must be a text or a number')
  return (actual) => actual === value
}

/** The order is that of numbers, also when they are written as a text. */
function compare(value: unknown, place: string, holds: (a: number, b: number) => boolean): Test {
  const limit = typeof value === 'string' ? numberOf(value) : value
  if (typeof limit !== 'number') throw wrong(place, 'must be a number')
  return (actual) => {
    const number = numberOf(actual)
    return number !== undefined && holds(number, limit)
  }
}

function matches(value: unknown, flags: string, place: string): Test {
  if (typeof value !== 'string') throw wrong(place, 'must be a regular expression')
  let regex: RegExp
  try {
    // PCRE writes a flag for the whole in front.
    const folded = value.startsWith('(?i)')
    regex = new RegExp(withoutNeedlessEscapes(folded ? value.slice(4) : value), folded ? 'iu' : flags)
  } catch (error) {
    throw wrong(place, (error as Error).message)
  }
  return (actual) => actual !== undefined && regex.test(actual)
}

/** PCRE lets any punctuation be escaped; JavaScript, which is strict about letters only when it is about these, does not. */
function withoutNeedlessEscapes(source: string): string {
  return source.replace(/\\([\s\S])/g, (whole, char: string) => {
    if (char === '-') return '\\x2d'
    return /[ !"#%&',:;<=>@_`~]/.test(char) ? char : whole
  })
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === '') return undefined
  const number = Number(text)
  return Number.isNaN(number) ? undefined : number
}

function wrong(place: string, reason: string): Error {
  return new FST_WASM_OPTIONS_INVALID(`${place}: ${reason}`)
}
