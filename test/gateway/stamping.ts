import type { FastifyInstance } from 'fastify'

/** Does by hooks what the filter of fixtures/stamp does. */
export function stampByHooks(scope: FastifyInstance): void {
  scope.addHook('onRequest', (request, _reply, done) => {
    request.raw.headers['x-client'] = request.raw.headers['user-agent'] ?? 'unknown'
    done()
  })
  scope.addHook('onSend', (_request, reply, payload, done) => {
    reply.header('x-stamp', '1')
    done(null, payload)
  })
}
