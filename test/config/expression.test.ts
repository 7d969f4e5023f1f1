import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileAddresses } from '../../lib/config/addresses.ts'
import { compileVars } from '../../lib/config/expression.ts'

const VARIABLES: Record<string, string> = {
  arg_name: 'json',
  arg_weight: '12',
  arg_empty: '',
  http_path: '/a-b/c',
  remote_addr: '10.1.2.3',
  remote_addr6: '2001:db8::7',
  http_list: 'a, b,c'
}

function holds(vars: unknown): boolean {
  return compileVars(vars, 'vars')((name) => VARIABLES[name])
}

const YES: unknown[][] = [
  ['arg_name', '==', 'json'],
  ['arg_weight', '==', 12],
  ['arg_weight', '==', '12'],
  ['arg_weight', '==', 12.0],
  ['arg_none', '==', null],
  ['arg_empty', '==', ''],
  ['arg_name', '~=', 'xml'],
  ['arg_name', '~=', 1],
  ['arg_none', '~=', 'json'],
  ['arg_none', '~=', 1],
  ['arg_name', '~=', null],
  ['arg_weight', '>', 11],
  ['arg_weight', '>', 9],
  ['arg_weight', '>', '9'],
  ['arg_weight', '>=', 12],
  ['arg_weight', '<', 100],
  ['arg_weight', '<=', 12],
  ['arg_name', '~~', '^js'],
  ['arg_name', '~*', '^JS'],
  ['arg_name', '~~', '(?i)^JS'],
  ['http_path', '~~', '^\\/a\\-b\\/[\\w\\-]$'],
  ['arg_name', 'in', ['xml', 'json']],
  ['arg_weight', 'in', [11, 12]],
  ['arg_name', 'IN', ['json']],
  ['http_list', 'has', 'b'],
  ['remote_addr', 'ipmatch', ['10.0.0.0/8']],
  ['remote_addr', 'ipmatch', '10.1.2.3'],
  ['remote_addr6', 'ipmatch', ['127.0.0.1', '2001:db8::/32']]
]

const NO: unknown[][] = [
  ['arg_name', '==', 'JSON'],
  ['arg_name', '==', 0],
  ['arg_empty', '==', 0],
  ['arg_empty', '==', null],
  ['arg_none', '==', ''],
  ['arg_none', '~=', null],
  ['arg_name', '>', 1],
  ['arg_none', '<', 1],
  ['arg_none', '>=', 0],
  ['arg_empty', '<=', 1],
  ['arg_weight', '>', 12],
  ['arg_weight', '<', 12],
  ['arg_name', '~~', '^JS'],
  ['arg_none', '~~', '.*'],
  ['arg_none', '~*', '.*'],
  ['arg_name', 'in', []],
  ['arg_none', 'in', ['json']],
  ['http_list', 'has', 'a, b'],
  ['remote_addr', 'ipmatch', ['10.1.2.4', '192.168.0.0/16']],
  ['arg_name', 'ipmatch', ['0.0.0.0/0']],
  ['arg_none', 'ipmatch', ['0.0.0.0/0']]
]

for (const [expected, table] of [
  [true, YES],
  [false, NO]
] as const) {
  for (const [name, ...rest] of table) {
    test(`${JSON.stringify([name, ...rest])} ${expected ? 'holds' : 'does not hold'}, and with a ! it is the other way round`, () => {
      assert.equal(holds([[name, ...rest]]), expected)
      assert.equal(holds([[name, '!', ...rest]]), !expected)
    })
  }
}

test('all of a list must hold, and lists nest with the words of logic', () => {
  const yes = ['arg_name', '==', 'json']
  const no = ['arg_name', '==', 'xml']
  const table: [unknown, boolean][] = [
    [[], true],
    [[yes, yes], true],
    [[yes, no], false],
    [['AND', yes, yes], true],
    [['AND', yes, no], false],
    [['OR', no, yes], true],
    [['OR', no, no], false],
    [['!AND', yes, no], true],
    [['!AND', yes, yes], false],
    [['!OR', no, no], true],
    [['!OR', no, yes], false],
    [['or', no, yes], true],
    [[yes, ['OR', no, yes]], true],
    [[yes, ['OR', no, no]], false],
    [[yes, [yes, yes]], true],
    [['OR', no, [yes, no]], false],
    [['!AND', yes, ['OR', no, ['!OR', no, no]]], false]
  ]
  for (const [vars, expected] of table) assert.equal(holds(vars), expected, JSON.stringify(vars))
})

test('what is wrong with an expression is said when it is compiled, with its place', () => {
  const ok = ['arg_a', '==', '1']
  const table: [unknown, RegExp][] = [
    ['arg_a == 1', /routes\.1\.vars: must be a list/],
    [undefined, /routes\.1\.vars: must be a list/],
    [['arg_a', '==', '1'], /routes\.1\.vars: an expression must stand in brackets/],
    [[ok, 'arg_a'], /routes\.1\.vars\[1\]: must be/],
    [[[]], /routes\.1\.vars\[0\]\[0\]: must be the name/],
    [[['arg_a']], /routes\.1\.vars\[0\]: must be/],
    [[['arg_a', '==', '1', '2']], /routes\.1\.vars\[0\]: must be/],
    [[['!', 'arg_a', '==', '1']], /routes\.1\.vars\[0\]/],
    [[['arg_a', '=', '1']], /routes\.1\.vars\[0\]\[1\]: "=" is no operator/],
    [[['arg_a', '!', 'is', '1']], /routes\.1\.vars\[0\]\[2\]: "is" is no operator/],
    [[['arg_a', '==', {}]], /routes\.1\.vars\[0\]\[2\]/],
    [[['arg_a', '>', 'x']], /routes\.1\.vars\[0\]\[2\]: must be a number/],
    [[['arg_a', '>', null]], /routes\.1\.vars\[0\]\[2\]: must be a number/],
    [[['arg_a', '~~', '(']], /routes\.1\.vars\[0\]\[2\]: Invalid regular expression/],
    [[['arg_a', '~~', 1]], /routes\.1\.vars\[0\]\[2\]: must be a regular expression/],
    [[['arg_a', 'in', '1']], /routes\.1\.vars\[0\]\[2\]: must be a list/],
    [[['arg_a', 'in', [[]]]], /routes\.1\.vars\[0\]\[2\]\[0\]/],
    [[['remote_addr', '!', 'ipmatch', ['10.0.0.0/33']]], /routes\.1\.vars\[0\]\[3\]: "10\.0\.0\.0\/33" is no IP/],
    [['OR', ok], /routes\.1\.vars: OR needs two/],
    [['OR', ok, ['AND']], /routes\.1\.vars\[2\]: AND needs two/],
    [['OR', ok, ['AND', ok, ['arg_b', '=', 1]]], /routes\.1\.vars\[2\]\[2\]\[1\]: "=" is no operator/],
    [[['post_arg_a', '==', '1']], /routes\.1\.vars\[0\]\[0\]: the variable post_arg_a is not supported/],
    [[['graphql_name', '==', '1']], /routes\.1\.vars\[0\]\[0\]: the variable graphql_name is not supported/]
  ]
  for (const [vars, message] of table) {
    assert.throws(
      () => compileVars(vars, 'routes.1.vars'),
      { code: 'FST_WASM_OPTIONS_INVALID', message },
      String(message)
    )
  }
})

test('an address is one of a list in every way that it may be written', () => {
  const table: [string, string, boolean][] = [
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1', '::ffff:10.0.0.1', true],
    ['10.0.0.1', '::ffff:a00:1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '::ffff:10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.9.9.9/8', '10.0.0.1', true],
    ['0.0.0.0/0', '1.2.3.4', true],
    ['::1', '0:0:0:0:0:0:0:1', true],
    ['2001:DB8::/32', '2001:db8:1::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['::ffff:10.0.0.0/104', '10.1.1.1', true],
    ['10.0.0.0/8', 'unix:', false],
    ['10.0.0.0/8', '', false]
  ]
  for (const [item, address, expected] of table) {
    assert.equal(compileAddresses(['192.0.2.1', item], 'p')(address), expected, `${address} in ${item}`)
  }
})

test('what is no address or network is refused', () => {
  for (const item of [
    '',
    'localhost',
    '10.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/8/8',
    '10.0.0.0/-1',
    'fe80::1%e',
    '010.0.0.1'
  ]) {
    assert.throws(
      () => compileAddresses([item], 'routes.1.remote_addrs'),
      { code: 'FST_WASM_OPTIONS_INVALID', message: /routes\.1\.remote_addrs: / },
      item
    )
  }
})
