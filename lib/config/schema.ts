import Type, { type Static } from 'typebox'

// The keys that APISIX has keep APISIX's spelling. The types, the validation and the defaults of every
// object come from here.

const closed = { additionalProperties: false }
const Optional = Type.Optional

/** Ids are 1 to 64 letters, digits, `-`, `_`, `.`; a whole number serves as its digits. */
const Id = Type.Union([Type.String({ pattern: '^[a-zA-Z0-9-_.]{1,64}$' }), Type.Integer({ minimum: 1 })])

/** Filters call upstreams by names of their own making: `outbound|80||svc` is one. */
const UpstreamId = Type.Union([Type.String({ minLength: 1 }), Type.Integer({ minimum: 1 })])

const described = {
  name: Optional(Type.String()),
  desc: Optional(Type.String()),
  labels: Optional(Type.Record(Type.String(), Type.String()))
}

const Limits = Type.Object(
  {
    /** MiB of a body that are buffered for a filter, 0: no limit. */
    body_mib: Optional(Type.Number({ minimum: 0, default: 8 }))
  },
  { ...closed, default: {} }
)

export const PluginDeclaration = Type.Object(
  {
    name: Type.String({ minLength: 1 }),
    file: Optional(Type.String({ minLength: 1 })),
    module: Optional(Type.Unsafe<Uint8Array>({})), // bytes, in code only
    priority: Optional(Type.Integer({ default: 0 })),
    http_request_phase: Optional(Type.Enum(['access', 'rewrite'], { default: 'access' })),
    semantics: Optional(Type.Enum(['apisix', 'envoy'], { default: 'apisix' })),
    vm_conf: Optional(Type.Union([Type.String(), Type.Record(Type.String(), Type.Unknown())])),
    vm_id: Optional(Type.String({ default: '' })),
    root_id: Optional(Type.String({ default: '' })),
    env: Optional(Type.Record(Type.String(), Type.String({ pattern: '^[^\\u0000]*$' }), { default: {} })),
    /** Of a plugin context that no route uses. Checked by hand, as a route's. */
    conf: Optional(Type.Unsafe<string | object>({})),
    limits: Optional(Limits)
  },
  closed
)

const PluginMeta = Type.Object({ disable: Optional(Type.Boolean()), priority: Optional(Type.Integer()) }, closed)

/** One plugin of a route, service, plugin_config or global rule. `conf` is checked by hand, in APISIX's words. */
const PluginEntry = Type.Object(
  {
    conf: Optional(Type.Unsafe<string | object>({})),
    _meta: Optional(PluginMeta),
    id: Optional(Type.String())
  },
  closed
)

const Plugins = Type.Record(Type.String(), PluginEntry)

/** Seconds. */
const Timeout = Type.Object(
  {
    connect: Optional(Type.Number({ exclusiveMinimum: 0 })),
    send: Optional(Type.Number({ exclusiveMinimum: 0 })),
    read: Optional(Type.Number({ exclusiveMinimum: 0 }))
  },
  closed
)

const Weight = Type.Integer({ minimum: 0 })

const Node = Type.Object(
  {
    host: Type.String({ minLength: 1 }),
    port: Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    weight: Weight
  },
  closed
)

const upstreamKeys = {
  ...described,
  type: Optional(Type.Enum(['roundrobin'], { default: 'roundrobin' })),
  /** `{ 'host:port': weight }`, or a list of `{ host, port, weight }`; told apart by hand. */
  nodes: Type.Unsafe<Record<string, number> | Static<typeof Node>[]>({}),
  scheme: Optional(Type.Enum(['http', 'https'], { default: 'http' })),
  pass_host: Optional(Type.Enum(['pass', 'node', 'rewrite'], { default: 'pass' })),
  upstream_host: Optional(Type.String({ minLength: 1 })),
  timeout: Optional(Timeout),
  retries: Optional(Type.Integer({ minimum: 0 })),
  tls: Optional(Type.Object({ verify: Optional(Type.Boolean()) }, closed))
}

export const NodeMap = Type.Record(Type.String(), Weight)
export const NodeList = Type.Array(Node)

/** An upstream inside of a route or service. */
export const InlineUpstream = Type.Object({ ...upstreamKeys, id: Optional(UpstreamId) }, closed)
const Upstream = Type.Object({ ...upstreamKeys, id: UpstreamId }, closed)

const Service = Type.Object(
  {
    ...described,
    id: Id,
    plugins: Optional(Plugins),
    upstream: Optional(InlineUpstream),
    upstream_id: Optional(UpstreamId)
  },
  closed
)

const PluginConfig = Type.Object({ ...described, id: Id, plugins: Plugins }, closed)
const GlobalRule = Type.Object({ id: Id, plugins: Plugins }, closed)

/** `config.wasm` of a route: APISIX's route object without what Fastify itself says. */
export const RouteConfig = Type.Object(
  {
    ...described,
    id: Optional(Id),
    plugins: Optional(Plugins),
    plugin_config_id: Optional(Id),
    service_id: Optional(Id),
    upstream: Optional(InlineUpstream),
    upstream_id: Optional(UpstreamId),
    timeout: Optional(Timeout)
  },
  closed
)

const resourceLists = {
  services: Optional(Type.Array(Service)),
  upstreams: Optional(Type.Array(Upstream)),
  plugin_configs: Optional(Type.Array(PluginConfig)),
  global_rules: Optional(Type.Array(GlobalRule))
}

/** What filters call by its name: bytes in, bytes or nothing out. */
export type ForeignFunction = (parameters: Buffer) => Uint8Array | undefined

/** What `register` takes. */
export const Options = Type.Object(
  {
    plugins: Optional(Type.Array(PluginDeclaration)),
    ...resourceLists,
    foreign_functions: Optional(Type.Unsafe<Record<string, ForeignFunction>>({})), // checked by hand, in code only
    config: Optional(Type.String({ minLength: 1 }))
  },
  closed
)

/** What a configuration file holds. */
export const ConfigFile = Type.Object(
  {
    wasm: Optional(Type.Object({ plugins: Optional(Type.Array(PluginDeclaration)) }, closed)),
    ...resourceLists
  },
  closed
)

export type PluginDeclaration = Static<typeof PluginDeclaration>
export type PluginEntry = Static<typeof PluginEntry>
export type Upstream = Static<typeof InlineUpstream>
export type Timeout = Static<typeof Timeout>
export type Service = Static<typeof Service>
export type PluginConfig = Static<typeof PluginConfig>
export type GlobalRule = Static<typeof GlobalRule>
export type RouteConfig = Static<typeof RouteConfig>
export type Options = Static<typeof Options>
export type ConfigFile = Static<typeof ConfigFile>
