import { errorCodes, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'

// What Fastify keeps to itself and a gateway needs: the context of the matched route. Its symbols are found by their
// description, on the object that carries them, so they are always the running Fastify's own.
// test/gateway/route-context.test.ts fails when Fastify changes any of this.

type Done = (request: FastifyRequest, reply: FastifyReply) => void
type PreParsing = (
  request: FastifyRequest,
  reply: FastifyReply,
  payload: NodeJS.ReadableStream,
  done: (error?: Error | null, payload?: NodeJS.ReadableStream) => void
) => Promise<NodeJS.ReadableStream | undefined> | undefined

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

interface ValidationFunction {
  (data: unknown, parent?: object): unknown
  errors?: unknown
  schemaEnv?: unknown
}

/** The part of Fastify's `Context` (lib/context.js, Fastify 5.12) that is used here. */
interface RouteContext {
  readonly config: { readonly url?: string; readonly wasm?: unknown }
  readonly handler: Handler
  readonly attachValidation: boolean
  readonly preParsing: readonly PreParsing[] | null
  readonly contentTypeParser: {
    run(contentType: string, done: Done, request: FastifyRequest, reply: FastifyReply): void
  }
  readonly schemaErrorFormatter: (errors: unknown, dataVar: string) => ValidationError
}

interface ContentType {
  readonly isValid: boolean
  toString(): string
}

const ANY_TYPE: ContentType = { isValid: true, toString: () => '' }

type ValidationError = NonNullable<FastifyRequest['validationError']> & { statusCode?: number; code?: string }

let kRouteContext: symbol | undefined
let kPayloadStream: symbol | undefined
let kContentType: symbol | undefined
let kMethods: symbol | undefined
let kReplyHeaders: symbol | undefined

/** The context of the route that the request matched; that of the 404 handler when it matched none. */
export function routeContext(request: FastifyRequest): RouteContext {
  kRouteContext ??= symbolOf(request, 'fastify.context')
  // Not by `keptBy`: of a place that reads properties by several names the engine cannot know where they are.
  return (request as unknown as Record<symbol, RouteContext>)[kRouteContext]!
}

/** The headers that a reply itself has, by name, besides those of Node's response below it: `getHeaders` copies both. */
export function replyHeaders(reply: FastifyReply): Readonly<Record<string, unknown>> {
  kReplyHeaders ??= symbolOf(reply, 'fastify.reply.headers')
  return (reply as unknown as Record<symbol, Record<string, unknown>>)[kReplyHeaders]!
}

/** By the context of a route: the same one, for requests whose body is forwarded. */
const forwarding: WeakMap<RouteContext, RouteContext> = new WeakMap()

/** Stands in place of the parsers of a route: bodies stay what they are. */
const NO_PARSER: RouteContext['contentTypeParser'] = {
  run(_contentType, done, request, reply) {
    forgetContentType(request)
    done(request, reply)
  }
}

/**
 * Has the body of a request stay the stream that came, whatever its content type says.
 *
 * @param handler goes before that of the route: for a request that matched none, instead of the 404 handler
 */
export function forwardBody(request: FastifyRequest, handler: Handler | undefined): void {
  const context = routeContext(request)
  let forwarded = forwarding.get(context)
  if (forwarded === undefined || (handler !== undefined && forwarded.handler !== handler)) {
    forwarded = Object.create(context, {
      contentTypeParser: { value: NO_PARSER, writable: true },
      handler: { value: handler ?? context.handler, writable: true }
    }) as RouteContext
    forwarding.set(context, forwarded)
  }
  ;(request as unknown as Record<symbol, RouteContext>)[kRouteContext!] = forwarded
  if (request.raw.headers['content-type'] !== undefined) {
    // Fastify refuses one that it cannot read before it asks the parsers.
    void request.mediaType
    kContentType ??= symbolOf(request, 'fastify.request.contentType')
    ;(request as unknown as Record<symbol, ContentType>)[kContentType] = ANY_TYPE
  }
}

/** Forgets the content type that Fastify has read from the headers, which have another one now. */
export function forgetContentType(request: FastifyRequest): void {
  kContentType ??= findSymbol(request, 'fastify.request.contentType')
  // Nobody has asked for it, in any request so far.
  if (kContentType === undefined) return
  ;(request as unknown as Record<symbol, unknown>)[kContentType] = undefined
}

/**
 * Parses a body again as Fastify did (lib/handle-request.js), by the parser that the route has for the content type of
 * the request, and validates it when the route has a schema for it. `request.headers['content-length']` must already be
 * that of the new body.
 *
 * Resolves when `request.body` is the new one. When the parser refuses the body it answers by itself, and the promise
 * never settles.
 *
 * @param payload a stream of the new bytes
 * @throws what the route's schema says against the body
 */
export async function parseBodyAgain(
  request: FastifyRequest,
  reply: FastifyReply,
  payload: NodeJS.ReadableStream
): Promise<void> {
  kMethods ??= symbolOf(request.server, 'fastify.acceptedHTTPMethods')
  const { bodywith } = keptBy<{ bodywith: ReadonlySet<string> }>(request.server, kMethods)
  if (!bodywith.has(request.method)) return

  const { headers } = request
  if (headers['content-type'] === undefined && headers['content-length'] === '0') {
    request.body = undefined
  } else {
    const contentType = contentTypeOf(request)
    const stream = await passPreParsing(request, reply, payload)
    ;(request as unknown as Record<symbol, unknown>)[kPayloadStream!] = stream
    await new Promise<void>((resolve) => {
      routeContext(request).contentTypeParser.run(contentType, () => resolve(), request, reply)
    })
  }
  await validateBody(request)
}

function contentTypeOf(request: FastifyRequest): string {
  if (request.headers['content-type'] === undefined) return ''
  // Its getter is what makes Fastify read the header.
  void request.mediaType
  kContentType ??= symbolOf(request, 'fastify.request.contentType')
  const contentType = keptBy<ContentType>(request, kContentType)
  if (!contentType.isValid) throw new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE()
  return contentType.toString()
}

/**
 * Where `preParsing` hooks of the application have put another stream in place of the request (one that decompresses, for
 * one), the new bytes are in need of the same. Otherwise the hooks have had their turn.
 */
async function passPreParsing(
  request: FastifyRequest,
  reply: FastifyReply,
  payload: NodeJS.ReadableStream
): Promise<NodeJS.ReadableStream> {
  kPayloadStream ??= symbolOf(request, 'fastify.RequestPayloadStream')
  const { preParsing } = routeContext(request)
  if (preParsing === null || keptBy(request, kPayloadStream) === request.raw) return payload
  let stream = payload
  for (const hook of preParsing) {
    const replaced = await new Promise<NodeJS.ReadableStream | undefined>((resolve, reject) => {
      const result = hook(request, reply, stream, (error, next) => (error ? reject(error) : resolve(next)))
      result?.then(resolve, reject)
    })
    stream = replaced ?? stream
  }
  return stream
}

/** As lib/validation.js does, errors included. */
async function validateBody(request: FastifyRequest): Promise<void> {
  const bySchema = request.getValidationFunction('body') as unknown
  const validate = (
    typeof bySchema === 'function'
      ? bySchema
      : (bySchema as Record<string, unknown> | undefined)?.[request.mediaType as string]
  ) as ValidationFunction | undefined
  if (validate === undefined) return

  const failure = await failureOf(validate, request)
  if (!failure) return
  const context = routeContext(request)
  const error = failure instanceof Error ? (failure as ValidationError) : context.schemaErrorFormatter(failure, 'body')
  error.statusCode ||= 400
  error.code ||= 'FST_ERR_VALIDATION'
  error.validationContext ||= 'body'
  if (failure !== error) error.validation = failure as ValidationError['validation']
  if (!context.attachValidation) throw error
  request.validationError = error
}

async function failureOf(validate: ValidationFunction, request: FastifyRequest): Promise<unknown> {
  const data = request.body ?? null
  let result: unknown
  try {
    // Ajv coerces a root value only by way of its parent.
    result = validate.schemaEnv ? validate(data, { parentData: request, parentDataProperty: 'body' }) : validate(data)
  } catch (error) {
    return Object.assign(error as Error, { statusCode: 500 })
  }
  if (typeof (result as Promise<unknown> | undefined)?.then === 'function') {
    // What it resolves with is the data itself: nothing of that may be taken for a verdict.
    return (result as Promise<unknown>).then(
      (settled) => settled === false && validate.errors,
      (error) => error
    )
  }
  if (result === false) return validate.errors
  if (typeof result !== 'object' || result === null) return undefined
  const { error } = result as { error?: unknown }
  if (!error && 'value' in result) request.body = result.value
  return error
}

function keptBy<Value>(object: object, symbol: symbol): Value {
  return (object as Record<symbol, Value>)[symbol]!
}

function symbolOf(object: object, description: string): symbol {
  const symbol = findSymbol(object, description)
  if (symbol === undefined) throw new Error(`this version of Fastify keeps no ${description}`)
  return symbol
}

/** An encapsulated instance inherits what its parents keep. */
function findSymbol(object: object, description: string): symbol | undefined {
  for (let owner: object | null = object; owner !== null; owner = Object.getPrototypeOf(owner)) {
    const symbol = Object.getOwnPropertySymbols(owner).find((symbol) => symbol.description === description)
    if (symbol !== undefined) return symbol
  }
  return undefined
}

/**
 * Whether requests that match no route pass the hooks of an instance: those of the application do, and those of a scope that
 * has a prefix and a 404 handler of its own (lib/four-oh-four.js, Fastify 5.12).
 */
export function seesUnmatched(app: FastifyInstance): boolean {
  if (!('register' in Object.getPrototypeOf(app))) return true
  const symbol = findSymbol(app, 'fastify.canSetNotFoundHandler')
  return symbol !== undefined && Object.hasOwn(app, symbol) && keptBy<boolean>(app, symbol) === false
}
