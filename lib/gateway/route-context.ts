import type { FastifyReply, FastifyRequest } from 'fastify'

// What Fastify keeps to itself and a gateway needs: the context of the matched route. The two symbols are found by
// their description, on the object that carries them, so it is always the running Fastify's own.
// test/gateway/route-context.test.ts fails when Fastify changes any of this.

type Done = (request: FastifyRequest, reply: FastifyReply) => void

interface ValidationFunction {
  (data: unknown, parent?: object): unknown
  errors?: unknown
  schemaEnv?: unknown
}

/** The part of Fastify's `Context` (lib/context.js, Fastify 5.12) that is used here. */
interface RouteContext {
  readonly config: { readonly url?: string; readonly wasm?: unknown }
  readonly attachValidation: boolean
  readonly contentTypeParser: {
    run(contentType: string, done: Done, request: FastifyRequest, reply: FastifyReply): void
  }
  readonly schemaErrorFormatter: (errors: unknown, dataVar: string) => Error
}

let kRouteContext: symbol | undefined
let kPayloadStream: symbol | undefined

/** The context of the route that the request matched; that of the 404 handler when it matched none. */
export function routeContext(request: FastifyRequest): RouteContext {
  kRouteContext ??= symbolOf(request, 'fastify.context')
  return (request as unknown as Record<symbol, RouteContext>)[kRouteContext]!
}

function symbolOf(request: FastifyRequest, description: string): symbol {
  const symbol = Object.getOwnPropertySymbols(request).find((symbol) => symbol.description === description)
  if (symbol === undefined) throw new Error(`this version of Fastify keeps no ${description} on its requests`)
  return symbol
}

/**
 * Parses a body again, by the parser that the route has for the content type of the request, and validates it when the
 * route has a schema for it. `request.headers['content-length']` must already be that of the new body.
 *
 * Resolves when `request.body` is the new one. When the parser refuses the body it answers by itself, and the promise
 * never settles.
 *
 * @param payload a stream of the new bytes
 * @throws what the route's schema says against the body
 */
export async function parseBodyAgain(request: FastifyRequest, reply: FastifyReply, payload: NodeJS.ReadableStream) {
  const context = routeContext(request)
  kPayloadStream ??= symbolOf(request, 'fastify.RequestPayloadStream')
  ;(request as unknown as Record<symbol, unknown>)[kPayloadStream] = payload
  await new Promise<void>((resolve) => {
    context.contentTypeParser.run(request.headers['content-type'] ?? '', () => resolve(), request, reply)
  })

  const validate = request.getValidationFunction('body') as unknown as ValidationFunction | undefined
  if (typeof validate !== 'function') return
  // As Fastify's own validation (lib/validation.js): Ajv coerces a root value only by way of its parent.
  const parent = validate.schemaEnv ? { parentData: request, parentDataProperty: 'body' } : undefined
  const result = await validate(request.body ?? null, parent)
  const failure = result === false ? validate.errors : (result as { error?: unknown } | undefined)?.error
  if (!failure) {
    if (typeof result === 'object' && result !== null && 'value' in result) request.body = result.value
    return
  }
  const error = failure instanceof Error ? failure : context.schemaErrorFormatter(failure, 'body')
  Object.assign(error, { statusCode: 400, code: 'FST_ERR_VALIDATION', validation: failure, validationContext: 'body' })
  if (!context.attachValidation) throw error
  request.validationError = error as NonNullable<FastifyRequest['validationError']>
}
