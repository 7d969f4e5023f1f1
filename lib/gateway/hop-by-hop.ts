/**
 * Headers that belong to one connection and go no further (RFC 9110 §7.6.1), and `expect`, which Node has answered
 * already when a request arrives here.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect'
])

/** A bit for each letter that one begins with: most names need not be looked up. */
let initials = 0
for (const name of HOP_BY_HOP) initials |= 1 << (name.charCodeAt(0) & 31)

/** @param name in lower case */
export function isHopByHop(name: string): boolean {
  return ((initials >>> (name.charCodeAt(0) & 31)) & 1) === 1 && HOP_BY_HOP.has(name)
}

/** Copies name, value, … as Node hands them out, the names in lower case. */
export function withLowerCaseNames(raw: readonly string[]): string[] {
  return raw.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
}

/** The header names that `connection` declares to be hop-by-hop too. */
function namesIn(connection: readonly string[]): Set<string> {
  const names = new Set<string>()
  for (const value of connection) for (const name of value.split(',')) names.add(name.trim().toLowerCase())
  return names
}

/**
 * Copies name, value, … without what is hop-by-hop.
 *
 * @param headers names in lower case
 * @param received what came over the connection, names in any case, if `headers` has been changed since: `connection`
 *   speaks of that and no more, or a client could take away what a filter has added
 */
export function withoutHopByHop(headers: readonly string[], received: readonly string[] = headers): string[] {
  const connection: string[] = []
  for (let i = 0; i < received.length; i += 2) {
    if (received[i]!.length !== 10 || received[i]!.toLowerCase() !== 'connection') continue
    // Nearly always one of these, which names nothing more.
    const value = received[i + 1]!
    if (value !== 'keep-alive' && value !== 'close') connection.push(value)
  }
  const named = connection.length > 0 ? namesIn(connection) : undefined
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const value = headers[i + 1]!
    if (isHopByHop(name)) continue
    if (named?.has(name) && (received === headers || has(received, name, value))) continue
    kept.push(name, value)
  }
  return kept
}

function has(received: readonly string[], name: string, value: string): boolean {
  for (let i = 0; i < received.length; i += 2) {
    if (received[i + 1] === value && received[i]!.toLowerCase() === name) return true
  }
  return false
}
