import { isIP } from 'node:net'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'

/** How TLS is spoken with the nodes of an upstream. */
export interface TlsSettings {
  /** Whether certificates are verified. */
  readonly verify: boolean
  /** PEM: what the gateway shows for itself */
  readonly cert?: string
  readonly key?: string
}

/** @param serverName whom the certificate must be for: a name, or an address, which is none that TLS could indicate */
export function tlsOptions({ verify, cert, key }: TlsSettings, serverName: string): ConnectionOptions {
  return {
    rejectUnauthorized: verify,
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(isIP(serverName) === 0 && { servername: serverName }),
    checkServerIdentity: (_name, certificate) => checkServerIdentity(serverName, certificate)
  }
}
