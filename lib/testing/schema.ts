import Type from 'typebox'

const closed = { additionalProperties: false }
const Optional = Type.Optional

const Headers = Type.Record(Type.String(), Type.Union([Type.String(), Type.Array(Type.String())]))
const Body = Type.Unknown()

/** What an exchange begins with. Headers and bodies are looked at where they are read. */
export const ExchangeInput = Type.Object(
  {
    request: Optional(
      Type.Object(
        {
          method: Optional(Type.String({ pattern: "^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$" })),
          path: Optional(Type.String({ pattern: '^(?:/|\\*$)' })),
          scheme: Optional(Type.Enum(['http', 'https'])),
          authority: Optional(Type.String()),
          headers: Optional(Headers),
          body: Optional(Body),
          trailers: Optional(Headers)
        },
        closed
      )
    ),
    response: Optional(Type.Unknown()),
    properties: Optional(Type.Record(Type.String(), Type.Unknown()))
  },
  closed
)

/** Upstreams by name. Each is looked at where it answers. */
export const Fakes = Type.Record(Type.String(), Type.Unknown())

/** What an upstream answers to a gRPC call. */
export const GrpcAnswer = Type.Object(
  {
    initial_metadata: Optional(Headers),
    messages: Optional(Type.Array(Body)),
    trailing_metadata: Optional(Headers),
    status: Optional(Type.Integer({ minimum: 0 })),
    status_message: Optional(Type.String())
  },
  closed
)

/** What the application or the upstream answers. */
export const ResponseInput = Type.Object(
  {
    status: Optional(Type.Integer({ minimum: 200, maximum: 999 })),
    headers: Optional(Headers),
    body: Optional(Body),
    trailers: Optional(Headers)
  },
  closed
)
