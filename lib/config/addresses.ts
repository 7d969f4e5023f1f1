import { BlockList, isIP } from 'node:net'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'

/**
 * Compiles a list of addresses and networks (`10.0.0.1`, `10.0.0.0/8`, `fe80::/10`).
 *
 * @returns whether an address is one of them, or in one of them; an IPv4 address in IPv6's form counts as what it is
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function compileAddresses(list: readonly string[], place: string): (address: string) => boolean {
  const addresses = new BlockList()
  for (const item of list) add(addresses, item, place)
  return (address) => {
    const version = isIP(address)
    if (version === 4) return addresses.check(address, 'ipv4')
    // A link-local address may come with its zone, `fe80::1%eth0`.
    return version === 6 && addresses.check(address.split('%', 1)[0]!, 'ipv6')
  }
}

function add(addresses: BlockList, item: unknown, place: string): void {
  const [address = '', bits, ...rest] = String(item).split('/')
  const version = address.includes('%') ? 0 : isIP(address)
  const family = version === 6 ? 'ipv6' : 'ipv4'
  const isPrefix = bits !== undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 6 ? 128 : 32)
  if (typeof item !== 'string' || version === 0 || rest.length > 0 || (bits !== undefined && !isPrefix)) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: ${JSON.stringify(item)} is no IP address or network`)
  }
  if (bits === undefined) addresses.addAddress(address, family)
  else addresses.addSubnet(address, Number(bits), family)
}
