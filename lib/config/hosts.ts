import { isIP } from 'node:net'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { compileAddresses } from './addresses.ts'
import { parseAddress } from './validate.ts'

/** An item of a plugin's `hosts`. */
export interface AllowedHost {
  readonly text: string
  /** @param host in lower case, an IPv6 address without brackets */
  readonly matches: (host: string, port: number) => boolean
}

/** A name of DNS, the underscores of Docker and Kubernetes among its letters. */
const NAME = /^(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?$/
/** What resolvers take for an IPv4 address: `127.1`, `2130706433`, `0x7f.1`. */
const NUMERIC = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/
const DIGITS = /^[0-9]+$/

/**
 * Checks a plugin's `hosts`. An item that is no address may be the id of an upstream that is declared, and one that is
 * digits alone that of any: the Admin API numbers those that it makes.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function checkHosts(hosts: readonly string[], place: string, isUpstream: (id: string) => boolean): void {
  const problems = hosts.flatMap((text, i) => {
    if (isUpstream(text) || DIGITS.test(text) || matcherOf(text) !== undefined) return []
    return `${place}[${i}]: ${JSON.stringify(text)} is no host, host:port, *.domain, address or network, nor the id of an upstream`
  })
  if (problems.length > 0) throw new FST_WASM_OPTIONS_INVALID(problems.join('; '))
}

/** Compiles the items that are addresses. The others are ids of upstreams. */
export function compileHosts(hosts: readonly string[]): AllowedHost[] {
  return hosts.flatMap((text) => {
    const matches = matcherOf(text)
    return matches === undefined ? [] : { text, matches }
  })
}

function matcherOf(text: string): AllowedHost['matches'] | undefined {
  const isWildcard = text.startsWith('*.')
  const address = parseAddress((isWildcard ? text.slice(2) : text).toLowerCase())
  if (address === undefined) return isWildcard ? undefined : networkMatcher(text)
  const { host: wanted, port: wantedPort } = address
  const isPort = (port: number) => wantedPort === undefined || port === wantedPort
  if (isIP(wanted) !== 0) {
    if (isWildcard) return undefined
    const isAddress = compileAddresses([wanted], text)
    return (host, port) => isPort(port) && isAddress(host)
  }
  // A name in brackets, or a number that would be taken for an address as soon as it is called.
  if (text.includes('[') || !NAME.test(wanted) || NUMERIC.test(wanted)) return undefined
  if (!isWildcard) return (host, port) => isPort(port) && host === wanted
  const end = `.${wanted}`
  return (host, port) => isPort(port) && host.endsWith(end) && NAME.test(host)
}

/** `10.0.0.0/8`, `fd00::/8`; and `fd00::1`, which is no host without brackets. */
function networkMatcher(text: string): AllowedHost['matches'] | undefined {
  try {
    return compileAddresses([text], text)
  } catch {
    return undefined
  }
}
