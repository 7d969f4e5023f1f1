// Writes the tables of docs/abi-support.md between its markers: `npm run docs:abi`. With --check nothing is written, and it
// fails when the page is stale. It fails either way when the tables, the host and the tests do not say the same.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import type { Instance } from '../../lib/host/instance.ts'
import { startHost } from '../host/host.ts'
import { filterWat } from '../wat.ts'
import { DIFFERENCES } from './host-differences.ts'
import { CALLBACKS, HOST_FUNCTIONS, NEVER_CALLED, type Row, type Version, WASI, WHOLE_HOST } from './support-table.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const ABI = join(ROOT, 'lib', 'host', 'abi')
const PAGE = join(ROOT, 'docs', 'abi-support.md')
const VERSIONS: readonly Version[] = ['0.1.0', '0.2.0', '0.2.1']
/** What answers what a host lacks. */
const UNIMPLEMENTED = 12

const problems: string[] = []

/** The functions of each family, with the file that they are in. What toolchains import is no part of the specification. */
async function hostFunctions(instance: Instance): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const file of readdirSync(ABI)) {
    if (file === 'toolchain.ts') continue
    // A family is a function named as its file.
    const name = basename(file, '.ts').replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase())
    const family = ((await import(join(ABI, file))) as Record<string, unknown>)[name]
    if (typeof family !== 'function' || family.length !== 1) continue
    const functions = Object.keys(family(instance))
    for (const name of functions) found.set(name, `lib/host/abi/${file}`)
  }
  return found
}

/** What each import of a module answers while the module is initialized, when nothing has any effect yet. */
async function answers(imports: readonly (readonly [module: string, name: string])[]): Promise<number[]> {
  const declared = imports.map(([module, name], i) => `(import "${module}" "${name}" (func $f${i} (result i32)))`)
  const calls = imports.map((_, i) => `(i32.store (i32.const ${i * 4}) (call $f${i}))`)
  const module = await filterWat(declared.join('\n'), `(func (export "_initialize") ${calls.join('\n')})`)
  const host = await startHost(module)
  return imports.map((_, i) => host.instance.memory.u32(i * 4))
}

/** Fails unless both hold the same names. */
function compare(what: string, table: readonly Row[], there: Iterable<string>): void {
  const names = new Set(table.map(({ name }) => name))
  const host = new Set(there)
  for (const name of names) if (!host.has(name)) problems.push(`${what}: the host has no ${name}`)
  for (const name of host) if (!names.has(name)) problems.push(`${what}: ${name} of the host is in no table`)
}

/** The test files, without their tests that are skipped. */
function testFiles(): Map<string, string> {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
  const tests = files.filter((file) => file.endsWith('.test.ts'))
  return new Map(
    tests.map((file) => {
      const text = readFileSync(join(ROOT, 'test', file), 'utf8')
      return [file, text.replaceAll(/\b(?:test|it)\.(?:skip|todo)\(.*/g, '')]
    })
  )
}

/** The numbers that names of tests begin with. A name may stand in a table, and its number apart. */
function testedStatements(files: Map<string, string>): Set<number> {
  const numbers = new Set<number>()
  for (const text of files.values()) {
    for (const [, name] of text.matchAll(/['"`]((?:C-\d{3}\b ?)+)/g)) {
      for (const [number] of name!.matchAll(/\d{3}/g)) numbers.add(Number(number))
    }
  }
  return numbers
}

const namesFile = ({ proof }: Row) => proof.endsWith('.test.ts')

function statementsOf(row: Row): number[] {
  if (namesFile(row) || row.proof === '') return []
  return row.proof.split(' ').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number) as [number, number?]
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}

function checkProofs(rows: readonly Row[]): number {
  const files = testFiles()
  const tested = testedStatements(files)
  const listed = new Set(rows.flatMap(statementsOf))
  for (const row of rows) {
    for (const number of statementsOf(row)) {
      if (!tested.has(number)) problems.push(`${row.name}: no test is named ${statement(number)}`)
    }
    if (namesFile(row) && files.get(join('conformance', row.proof))?.includes(row.name) !== true) {
      problems.push(`${row.name}: test/conformance/${row.proof} does not name it`)
    }
  }
  for (const number of tested) {
    if (!listed.has(number)) problems.push(`the tests name ${statement(number)}, which is in no table`)
  }
  return tested.size
}

const statement = (number: number) => `C-${String(number).padStart(3, '0')}`

function proof(row: Row): string {
  if (namesFile(row)) return `[${row.proof}](../test/conformance/${row.proof})`
  return row.proof
    .replaceAll(/(\d+)-(\d+)/g, (range, first, last) =>
      Number(last) - Number(first) === 1 ? `${first} ${last}` : range
    )
    .replaceAll(/\d+/g, (number) => statement(Number(number)))
    .replaceAll('-C', '…C')
}

/** `yes`: specified and there. `also`: there, though that version does not specify it. */
function support(row: Row, elsewhere: string): string[] {
  return VERSIONS.map((version) => (row.versions === undefined || row.versions.includes(version) ? 'yes' : elsewhere))
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

const link = (file: string) => `[${basename(file)}](../${file})`
const code = (name: string) => `\`${name}\``

function hostFunctionTable(files: Map<string, string>): string {
  const rows = HOST_FUNCTIONS.map((row) => {
    const file = files.get(row.name)
    return [code(row.name), ...support(row, 'also'), file === undefined ? '' : link(file), proof(row), row.note ?? '']
  })
  return table(['function', ...VERSIONS, 'file', 'tests', 'note'], rows)
}

function callbackTable(): string {
  const called = CALLBACKS.map((row) => {
    if (row.file === undefined || !existsSync(join(ROOT, row.file))) problems.push(`${row.name}: no file ${row.file}`)
    else if (!readFileSync(join(ROOT, row.file), 'utf8').includes(row.name)) {
      problems.push(`${row.name}: ${row.file} does not name it`)
    }
    return [code(row.name), ...support(row, '–'), link(row.file ?? ''), proof(row), row.note ?? '']
  })
  const never = NEVER_CALLED.map((row) => [code(row.name), 'no', 'no', 'no', '', '', 'TCP connections'])
  return table(['export', ...VERSIONS, 'file', 'tests', 'note'], [...called, ...never])
}

function differenceTable(rows: readonly Row[]): string {
  for (const { name } of DIFFERENCES) {
    if (!rows.some((row) => row.name === name)) problems.push(`hosts differ in ${name}, which is in no table`)
  }
  const cells = DIFFERENCES.map(({ name, question, here, envoy, nginx, java }) => [
    code(name),
    question,
    here,
    envoy,
    nginx,
    java
  ])
  return table(['function', 'question', 'here', 'Envoy', 'ngx_wasm_module', 'Java host'], cells)
}

const host = await startHost(await filterWat('', ''))
const { instance } = host
const { createWasi } = await import('../../lib/host/wasi/wasi.ts')
const files = await hostFunctions(instance)
compare('host functions', HOST_FUNCTIONS, files.keys())
compare('WASI', WASI, Object.keys(createWasi(instance)))
const entries = new Set(['_initialize', 'main', '_start', 'proxy_on_memory_allocate', 'malloc'])
compare('callbacks', CALLBACKS, [...entries, ...Object.keys(instance.callbacks)])
compare(
  'never called',
  [],
  Object.keys(instance.callbacks).filter((name) => NEVER_CALLED.some((row) => row.name === name))
)

// A family may be written and not be among the imports: what a module gets when it asks is what counts.
const imported = HOST_FUNCTIONS.map(({ name }) => ['env', name] as const)
for (const [i, answer] of (await answers(imported)).entries()) {
  if (answer === UNIMPLEMENTED) problems.push(`a module that imports ${imported[i]![1]} gets a stub`)
}

const rows = [...HOST_FUNCTIONS, ...CALLBACKS, ...WASI, ...WHOLE_HOST]
const count = checkProofs(rows)
const blocks: Record<string, string> = {
  'host functions': hostFunctionTable(files),
  callbacks: callbackTable(),
  wasi: table(
    ['function', 'what', 'tests'],
    WASI.map((row) => [code(row.name), row.note ?? '', proof(row)])
  ),
  'whole host': table(
    ['what', 'tests'],
    WHOLE_HOST.map((row) => [row.name, proof(row)])
  ),
  differences: differenceTable(rows)
}

const old = readFileSync(PAGE, 'utf8')
let page = old
for (const [name, block] of Object.entries(blocks)) {
  const marked = new RegExp(`(<!-- ${name} -->\n).*?(<!-- / -->)`, 's')
  if (!marked.test(page)) problems.push(`docs/abi-support.md has no place for the table of ${name}`)
  page = page.replace(marked, (_, start: string, end: string) => `${start}\n${block}\n\n${end}`)
}

const path = relative(ROOT, PAGE)
const checks = process.argv.includes('--check')
if (checks && page !== old) problems.push(`${path} is stale: npm run docs:abi`)
if (problems.length > 0) {
  process.stderr.write(`${problems.join('\n')}\n`)
  process.exit(1)
}
if (!checks) writeFileSync(PAGE, page)
process.stdout.write(
  `${path}: ${count} statements, ${HOST_FUNCTIONS.length} functions, ${CALLBACKS.length} callbacks\n`
)
