/** What stands in place of what is hidden. */
export const HIDDEN = '•••'

/** Headers, parameters and cookies that tell who somebody is, or let somebody in, by their names. */
const SECRET =
  /auth|cookie|token|secret|passw|pwd|passphrase|session|credential|signature|jwt|csrf|xsrf|otp|(?:^|[-_.])(?:sig|sid|pin|code|pass)(?:$|[-_.])|api[-_.]?key|access[-_.]?key|private|(?:^|[-_.])key(?:$|[-_.])/i
/** Those that say so and are none. `:authority` is a host. */
const HARMLESS: ReadonlySet<string> = new Set([':authority', 'www-authenticate', 'proxy-authenticate', 'status-code'])
/** A url, whose query may have one. */
const HAS_QUERY = /^(?::path|referer|location|content-location|refresh|link|.*-(?:url|uri))$/
/** How a text may name what `authorization` has. */
const CREDENTIALS = /\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}/gi
/** Shorter pieces of a secret are found in any text. */
const MIN_SECRET = 6
/** A parameter, up to its value. No part of it may have what it begins with: a url of nothing else would take for ever. */
const PARAMETER = /[?&;#]([^=?&;#\s]*)=/g
const END_OF_VALUE = /[&;#\s]/
const SCHEMES: ReadonlySet<string> = new Set(['bearer', 'digest', 'negotiate'])

export function isSecret(name: string): boolean {
  return !HARMLESS.has(name) && SECRET.test(name)
}

/** A header's value as it may be shown. */
export function shownValue(name: string, value: string): string {
  if (isSecret(name)) return HIDDEN
  return HAS_QUERY.test(name) || value.includes('?') ? shownUrl(value) : value
}

/** A url, or a text with one in it, without its password and without the values of secret parameters. */
export function shownUrl(url: string): string {
  const text = url.replace(/:\/\/[^/?#\s@]*@/g, `://${HIDDEN}@`)
  let shown = ''
  let from = 0
  for (const { 0: before, 1: name, index } of text.matchAll(PARAMETER)) {
    // In a value that is hidden already
    if (index < from || !isSecret(decoded(name!))) continue
    const begin = index + before.length
    const length = text.slice(begin).search(END_OF_VALUE)
    shown += text.slice(from, begin) + HIDDEN
    from = length === -1 ? text.length : begin + length
  }
  return shown + text.slice(from)
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

/** Adds what is secret in a list of headers: the values, and the pieces that a filter may take them apart into. */
export function collectSecrets(headers: readonly string[], secrets: Set<string>): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (!isSecret(headers[i]!)) continue
    for (const secret of [headers[i + 1]!, ...headers[i + 1]!.split(/[\s;,=:"]+/)]) {
      if (secret.length >= MIN_SECRET && !SCHEMES.has(secret.toLowerCase())) secrets.add(secret)
    }
  }
}

/** A line of a log without the secrets that are known of its request. */
export function withoutSecrets(line: string, secrets: ReadonlySet<string>): string {
  let shown = shownUrl(line)
  // Longer ones first: others are parts of them.
  for (const secret of [...secrets].sort((one, other) => other.length - one.length)) {
    shown = shown.replaceAll(secret, HIDDEN)
  }
  return shown.replace(CREDENTIALS, `$1 ${HIDDEN}`)
}
