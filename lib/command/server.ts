import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions
} from 'fastify'
import { logRequest } from './access-log.ts'
import { readableLog } from './readable-log.ts'

/** Makes the server of a gateway that has no routes but those of its configuration. */
export function createServer(level: string): FastifyInstance {
  const app = Fastify({
    logger: { level, ...(process.stdout.isTTY && { stream: readableLog }) },
    ...requestLogging(),
    // Whoever stands in front of the gateway, `x-forwarded-for` is anybody's to write: routes and filters see the address
    // of the connection.
    trustProxy: false,
    // Modules are compiled before it listens, which takes as long as it takes.
    pluginTimeout: 0,
    frameworkErrors: answerUnroutable
  })
  // What has no route needs no parsing: without this a body of a type that Fastify does not know is a 415 in place of the
  // 404. So `bodyLimit` limits nothing: the bodies of routes are streams, and filters have limits of their own.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error_msg: '404 Route Not Found' }))
  app.addHook('onRequest', (request, reply, done) => {
    logRequest(request, reply)
    done()
  })
  return app
}

/** A url that is none: no hook sees such a request. */
function answerUnroutable(error: Error, request: FastifyRequest, reply: FastifyReply): void {
  logRequest(request, reply)
  reply.code(400).send({ error_msg: error.message })
}

/** The access log has one line in place of Fastify's two. */
function requestLogging(): FastifyServerOptions {
  const { LogController } = Fastify
  // Fastify 5.0 to 5.9, whose only way leaves out what it says of errors too.
  if (LogController === undefined) return { disableRequestLogging: true }
  class ErrorLog extends LogController {
    override incomingRequest(): void {}

    override requestCompleted(error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
      if (error) super.requestCompleted(error, request, reply)
    }
  }
  return { logController: new ErrorLog() }
}
