import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MAX_LINE } from '../../lib/host/limits.ts'
import { lineOf } from '../../lib/host/log-line.ts'

const line = (text: string) => lineOf(Buffer.from(text))

test('control characters are escaped, but for newlines and tabs', () => {
  assert.equal(line('a\r\n\tb'), 'a\\x0d\n\tb')
  assert.equal(line('\0\x1b[31mred\x7f\x85\x9b'), '\\x00\\x1b[31mred\\x7f\\x85\\x9b')
})

test('whatever the bytes are, no other control character is left', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.doesNotMatch(lineOf(Buffer.from(bytes)), /[^\P{Cc}\n\t]/u)
    })
  )
})

test('a text without any is what it was', () => {
  for (const text of ['', 'plain', 'größer \u{1f600}', 'a \\x1b b']) assert.equal(line(text), text)
  assert.equal(lineOf(Buffer.from([0x61, 0xff])), 'a\ufffd')
})

test('a line of 8 KiB is whole, and a longer one is cut and says by how much', () => {
  const whole = 'x'.repeat(MAX_LINE)
  assert.equal(line(whole), whole)
  assert.equal(line(`${whole}yz`), `${whole}… (2 more bytes)`)
})

test('a line is no longer for being escaped', () => {
  const quarter = MAX_LINE / 4
  assert.equal(line('\x1b'.repeat(quarter)), '\\x1b'.repeat(quarter))
  assert.equal(line('\x1b'.repeat(quarter + 1)), `${'\\x1b'.repeat(quarter)}… (1 more bytes)`)
  assert.equal(line('\x1b'.repeat(MAX_LINE * 2)), `${'\\x1b'.repeat(quarter)}… (${MAX_LINE * 2 - quarter} more bytes)`)
})

test('the cut is between two characters', () => {
  for (const character of ['ä', '€', '\u{1f600}']) {
    const bytes = Buffer.byteLength(character)
    for (let before = 1; before < bytes; before++) {
      const start = 'x'.repeat(MAX_LINE - before)
      assert.equal(line(`${start}${character}end`), `${start}… (${bytes + 3} more bytes)`)
    }
  }
})

test('of a line of which only the beginning is at hand it says the size of the whole', () => {
  const beginning = Buffer.alloc(MAX_LINE + 1, 'x')
  assert.equal(lineOf(beginning, 1_000_000), `${'x'.repeat(MAX_LINE)}… (${1_000_000 - MAX_LINE} more bytes)`)
})

test('bytes that are no UTF-8 are cut where the limit is, or a little before', () => {
  const text = lineOf(Buffer.alloc(MAX_LINE * 2, 0x80))
  assert.match(text, /^\ufffd+… \((819[2-6]|8200) more bytes\)$/)
})
