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

/** The header names that `connection` declares to be hop-by-hop too. */
export function namesIn(connection: readonly string[]): Set<string> {
  const names = new Set<string>()
  for (const value of connection) for (const name of value.split(',')) names.add(name.trim().toLowerCase())
  return names
}

/**
 * Copies name, value, … without what is hop-by-hop.
 *
 * @param headers names in lower case
 */
export function withoutHopByHop(headers: readonly string[]): string[] {
  const connection: string[] = []
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'connection') connection.push(headers[i + 1]!)
  const named = connection.length > 0 ? namesIn(connection) : undefined
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (!HOP_BY_HOP.has(name) && !named?.has(name)) kept.push(name, headers[i + 1]!)
  }
  return kept
}
