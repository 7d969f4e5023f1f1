import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  collectSecrets,
  HIDDEN,
  isSecret,
  shownUrl,
  shownValue,
  withoutSecrets
} from '../../../lib/gateway/inspector/redaction.ts'

test('headers that let somebody in are hidden by their names, and others are shown', () => {
  const secret = [
    ...[
      'authorization',
      'proxy-authorization',
      'cookie',
      'set-cookie',
      'x-api-key',
      'api_key',
      'apikey',
      'x-auth-token'
    ],
    ...['x-amz-security-token', 'x-csrf-token', 'x-session-id', 'x-access-key', 'client_secret', 'password', 'x-jwt'],
    ...[
      'x-hub-signature-256',
      'x-forwarded-client-credentials',
      'sec-websocket-key',
      'sid',
      'x-passwd',
      'x-private-note'
    ]
  ]
  for (const name of secret) assert.equal(shownValue(name, 'value'), HIDDEN, name)
  const harmless = [
    ...[':authority', ':path', ':status', 'host', 'content-type', 'www-authenticate', 'x-request-id', 'keep-alive'],
    ...['user-agent', 'x-forwarded-for', 'monkey', 'x-keyboard', 'traceparent', 'etag', 'assignment', 'consider']
  ]
  for (const name of harmless) assert.equal(isSecret(name), false, name)
})

test('urls are shown without passwords, and without the values of parameters that are secret', () => {
  assert.equal(shownUrl('/a?page=2&token=abc&x=1'), `/a?page=2&token=${HIDDEN}&x=1`)
  assert.equal(shownUrl('/a?api%5Fkey=abc#access_token=def'), `/a?api%5Fkey=${HIDDEN}#access_token=${HIDDEN}`)
  assert.equal(shownUrl('https://ann:pw@host/a'), `https://${HIDDEN}@host/a`)
  assert.equal(shownUrl('/a?%E0%A4%A=1'), '/a?%E0%A4%A=1')
  assert.equal(shownUrl('/a?to=/b?token=abc?x=1&y=2'), `/a?to=/b?token=${HIDDEN}&y=2`)
  assert.equal(shownUrl('/a?token=abc and ?sid=def'), `/a?token=${HIDDEN} and ?sid=${HIDDEN}`)
  assert.equal(shownValue('location', 'https://host/?code=abc'), `https://host/?code=${HIDDEN}`)
})

test('a url takes as long as it is', () => {
  for (const part of ['?', '?a', '&', '#a', '://', '://a@', '=', '?a=?token=']) {
    // Hours where it is the square of that.
    const url = `/${part.repeat(1_000_000)}`
    assert.ok(shownUrl(url).length > 0)
  }
})

test('what is secret in a request is hidden in the lines of its log, whole and in pieces', () => {
  const secrets = new Set<string>()
  collectSecrets(
    ['authorization', 'Bearer abcdef.ghijkl', 'cookie', 'sid=0123456789; lang=de', 'accept', 'anything'],
    secrets
  )
  assert.equal(withoutSecrets('token abcdef.ghijkl of anything', secrets), `token ${HIDDEN} of anything`)
  assert.equal(withoutSecrets('cookie sid=0123456789; lang=de!', secrets), `cookie ${HIDDEN}!`)
  assert.equal(withoutSecrets('session 0123456789', secrets), `session ${HIDDEN}`)
  assert.equal(withoutSecrets('of another: Bearer zyxwvut', secrets), `of another: Bearer ${HIDDEN}`)
})
