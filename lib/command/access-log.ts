import type { FastifyReply, FastifyRequest } from 'fastify'

/** Writes a line, with the fields of Fastify's own, when the response is sent or the client has left. */
export function logRequest(request: FastifyRequest, reply: FastifyReply): void {
  // As the client has sent them: filters may change them, and the addresses are gone with the connection.
  const { method, url, host, ip } = request
  const req = { method, url, host, ip, socket: { remotePort: request.socket.remotePort } }
  const { raw } = reply
  raw.once('close', () => {
    const responseTime = reply.elapsedTime
    if (raw.writableFinished) request.log.info({ req, res: reply, responseTime }, 'request completed')
    else if (raw.headersSent) request.log.info({ req, res: reply, responseTime }, 'request cut off in its response')
    else request.log.info({ req, responseTime }, 'request cut off before its response')
  })
}
