import type { Socket } from 'node:net'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import type { DescribedExchange, Property } from './attributes.ts'

type ClientSocket = Socket & Partial<TLSSocket>

export function socketOf(exchange: DescribedExchange): ClientSocket {
  return exchange.request.raw.socket as ClientSocket
}

/** A certificate of the connection; `undefined` where there is none. */
function certificateOf(exchange: DescribedExchange, side: 'local' | 'peer'): PeerCertificate | undefined {
  const socket = socketOf(exchange)
  const certificate = side === 'peer' ? socket.getPeerCertificate?.() : (socket.getCertificate?.() as PeerCertificate)
  // Node answers an empty object where the other side has shown none.
  return certificate?.raw === undefined ? undefined : certificate
}

/** As RFC 2253 writes it, the most specific name first. */
function subject(certificate: PeerCertificate | undefined): string | undefined {
  if (certificate === undefined) return undefined
  return Object.entries(certificate.subject)
    .reverse()
    .flatMap(([name, value]) => [value].flat().map((item) => `${name}=${item}`))
    .join(',')
}

/** The first alternative name of a kind. */
function alternativeName(certificate: PeerCertificate | undefined, kind: 'DNS' | 'URI'): string | undefined {
  const name = certificate?.subjectaltname?.split(', ').find((item) => item.startsWith(`${kind}:`))
  return name?.slice(kind.length + 1)
}

/** What Envoy tells of a connection with TLS; `undefined` without. */
export const TLS_ATTRIBUTES: Readonly<Record<string, Property>> = {
  'connection.mtls': (exchange) => socketOf(exchange).authorized === true,
  'connection.requested_server_name': (exchange) => {
    const { servername } = socketOf(exchange) as { servername?: string | false }
    return servername || undefined
  },
  'connection.tls_version': (exchange) => socketOf(exchange).getProtocol?.() ?? undefined,
  'connection.subject_local_certificate': (exchange) => subject(certificateOf(exchange, 'local')),
  'connection.subject_peer_certificate': (exchange) => subject(certificateOf(exchange, 'peer')),
  'connection.dns_san_local_certificate': (exchange) => alternativeName(certificateOf(exchange, 'local'), 'DNS'),
  'connection.dns_san_peer_certificate': (exchange) => alternativeName(certificateOf(exchange, 'peer'), 'DNS'),
  'connection.uri_san_local_certificate': (exchange) => alternativeName(certificateOf(exchange, 'local'), 'URI'),
  'connection.uri_san_peer_certificate': (exchange) => alternativeName(certificateOf(exchange, 'peer'), 'URI'),
  'connection.sha256_peer_certificate_digest': (exchange) =>
    certificateOf(exchange, 'peer')?.fingerprint256.replaceAll(':', '').toLowerCase()
}
