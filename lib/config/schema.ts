import Type, { type Static, type TSchema } from 'typebox'

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

/** What APISIX has written into an object that was copied out of it. */
const stamps = {
  create_time: Optional(Type.Integer()),
  update_time: Optional(Type.Integer())
}

const Limits = Type.Object(
  {
    // 0: no limit
    /** Milliseconds of one call into the module; 0: it is not made stoppable at all, nor is its start */
    call_ms: Optional(Type.Number({ minimum: 0, default: 1000 })),
    /** Milliseconds of a call that starts it, or one of its plugin contexts */
    start_ms: Optional(Type.Number({ minimum: 0, default: 10_000 })),
    /** MiB of its linear memory */
    memory_mib: Optional(Type.Number({ minimum: 0, default: 1024 })),
    /** MiB of a body that are buffered for a filter */
    body_mib: Optional(Type.Number({ minimum: 0, default: 8 })),
    /** http and gRPC calls of one exchange that are not answered yet */
    http_calls: Optional(Type.Integer({ minimum: 0, default: 64 })),
    /** Lines that it logs in a second */
    log_lines: Optional(Type.Integer({ minimum: 0, default: 1000 }))
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
    /** Whether its ticks run in each process, or in one at a time of all that share a Redis. */
    tick: Optional(Type.Enum(['each', 'leader'], { default: 'each' })),
    /** When it fails: 503, or on without it. */
    fail: Optional(Type.Enum(['closed', 'open'], { default: 'closed' })),
    env: Optional(Type.Record(Type.String(), Type.String({ pattern: '^[^\\u0000]*$' }), { default: {} })),
    /** Of a plugin context that no route uses. Checked by hand, as a route's. */
    conf: Optional(Type.Unsafe<string | object>({})),
    /** What its configurations must be, in code only: `definePlugin` */
    conf_schema: Optional(Type.Unsafe<TSchema>({})),
    /** The digest that its module must have */
    sha256: Optional(Type.String({ pattern: '^[0-9a-fA-F]{64}$' })),
    /** What its calls may reach: ids of upstreams, `host`, `host:port`, `*.domain`, addresses, networks; absent: anything. */
    hosts: Optional(Type.Array(Type.String())),
    /** The host functions that it may call, or that a report says which it does; absent: all. */
    allow: Optional(Type.Union([Type.Array(Type.String()), Type.Object({ report: Type.Boolean() }, closed)])),
    limits: Optional(Limits)
  },
  closed
)

/** `[[variable, operator, value], …]`, as lua-resty-expr has it. Checked by hand. */
const Vars = Type.Unsafe<readonly unknown[]>({})

const PluginMeta = Type.Object(
  {
    disable: Optional(Type.Boolean()),
    priority: Optional(Type.Integer()),
    /** The plugin runs for the requests that match. */
    filter: Optional(Vars),
    /** In place of the body where the plugin answers with a status of 400 or above. */
    error_response: Optional(Type.Union([Type.String(), Type.Record(Type.String(), Type.Unknown())]))
  },
  closed
)

/** One plugin of a route, service, plugin_config or global rule. `conf` is checked by hand, in APISIX's words. */
export const PluginEntry = Type.Object(
  {
    conf: Optional(Type.Unsafe<string | object>({})),
    _meta: Optional(PluginMeta),
    id: Optional(Type.String())
  },
  closed
)

/** By name. The entries are checked where it is known that there are plugins of these names: others have other entries. */
const Plugins = Type.Record(Type.String(), Type.Unsafe<Static<typeof PluginEntry>>({ type: 'object' }))

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
const Port = Type.Integer({ minimum: 1, maximum: 65535 })
const HttpStatus = Type.Integer({ minimum: 200, maximum: 599 })

const Node = Type.Object(
  {
    host: Type.String({ minLength: 1 }),
    port: Optional(Port),
    weight: Weight,
    /** Nodes with a lower one are tried when all with a higher one have failed. */
    priority: Optional(Type.Integer({ default: 0 })),
    metadata: Optional(Type.Record(Type.String(), Type.Unknown()))
  },
  closed
)

/** When a node counts as healthy again. */
const healthyKeys = (minimum: 0 | 1) => ({
  http_statuses: Optional(Type.Array(HttpStatus, { minItems: 1 })),
  successes: Optional(Type.Integer({ minimum, maximum: 254 }))
})
/** When a node counts as unhealthy. */
const unhealthyKeys = (minimum: 0 | 1) => ({
  http_statuses: Optional(Type.Array(HttpStatus, { minItems: 1 })),
  http_failures: Optional(Type.Integer({ minimum, maximum: 254 })),
  tcp_failures: Optional(Type.Integer({ minimum, maximum: 254 })),
  timeouts: Optional(Type.Integer({ minimum, maximum: 254 }))
})
/** Seconds */
const interval = { interval: Optional(Type.Number({ minimum: 0.1, default: 1 })) }

const Checks = Type.Object(
  {
    active: Type.Object(
      {
        type: Optional(Type.Enum(['http', 'https', 'tcp'], { default: 'http' })),
        timeout: Optional(Type.Number({ exclusiveMinimum: 0, default: 1 })),
        concurrency: Optional(Type.Integer({ minimum: 1, default: 10 })),
        host: Optional(Type.String({ minLength: 1 })),
        port: Optional(Port),
        http_method: Optional(Type.Enum(['GET', 'HEAD', 'POST', 'OPTIONS'], { default: 'GET' })),
        http_path: Optional(Type.String({ default: '/' })),
        http_request_body: Optional(Type.String()),
        https_verify_certificate: Optional(Type.Boolean({ default: true })),
        req_headers: Optional(Type.Array(Type.String({ minLength: 1 }))),
        healthy: Optional(Type.Object({ ...healthyKeys(1), ...interval }, closed)),
        unhealthy: Optional(Type.Object({ ...unhealthyKeys(1), ...interval }, closed))
      },
      closed
    ),
    passive: Optional(
      Type.Object(
        {
          type: Optional(Type.Enum(['http', 'https', 'tcp'], { default: 'http' })),
          healthy: Optional(Type.Object(healthyKeys(0), closed)),
          unhealthy: Optional(Type.Object(unhealthyKeys(0), closed))
        },
        closed
      )
    )
  },
  closed
)

const upstreamKeys = {
  ...described,
  ...stamps,
  type: Optional(Type.Enum(['roundrobin', 'chash', 'least_conn'], { default: 'roundrobin' })),
  /** What `chash` takes its key from. */
  hash_on: Optional(Type.Enum(['vars', 'header', 'cookie', 'vars_combinations'], { default: 'vars' })),
  key: Optional(Type.String({ minLength: 1 })),
  /** `{ 'host:port': weight }`, or a list of `{ host, port, weight }`; told apart by hand. */
  nodes: Type.Unsafe<Record<string, number> | Static<typeof Node>[]>({}),
  scheme: Optional(Type.Enum(['http', 'https'], { default: 'http' })),
  pass_host: Optional(Type.Enum(['pass', 'node', 'rewrite'], { default: 'pass' })),
  upstream_host: Optional(Type.String({ minLength: 1 })),
  timeout: Optional(Timeout),
  retries: Optional(Type.Integer({ minimum: 0 })),
  /** Seconds in which another node may be tried, 0: no limit. */
  retry_timeout: Optional(Type.Number({ minimum: 0, default: 0 })),
  checks: Optional(Checks),
  keepalive_pool: Optional(
    Type.Object(
      {
        /** Connections that are kept open to one node */
        size: Optional(Type.Integer({ minimum: 1, default: 320 })),
        /** Seconds that an unused one is kept */
        idle_timeout: Optional(Type.Number({ minimum: 0, default: 60 })),
        /** Requests on one connection */
        requests: Optional(Type.Integer({ minimum: 1, default: 1000 }))
      },
      closed
    )
  ),
  tls: Optional(
    Type.Object(
      {
        verify: Optional(Type.Boolean()),
        /** PEM */
        client_cert: Optional(Type.String({ minLength: 1 })),
        /** PEM */
        client_key: Optional(Type.String({ minLength: 1 }))
      },
      closed
    )
  )
}

export const NodeMap = Type.Record(Type.String(), Weight)
export const NodeList = Type.Array(Node)

/** An upstream inside of a route or service. */
export const InlineUpstream = Type.Object({ ...upstreamKeys, id: Optional(UpstreamId) }, closed)
/** In the lists of a file ids may be left out: they are `arr_1`, `arr_2`, … then. */
export const Upstream = Type.Object({ ...upstreamKeys, id: Optional(UpstreamId) }, closed)

/** `*.foo.com` stands for all names that end in `.foo.com`. */
const Host = Type.String({ pattern: '^\\*?[0-9a-zA-Z\\-_.\\[\\]:]+$' })
const Hosts = Type.Array(Host, { minItems: 1, uniqueItems: true })

export const Service = Type.Object(
  {
    ...described,
    ...stamps,
    id: Optional(Id),
    plugins: Optional(Plugins),
    upstream: Optional(InlineUpstream),
    upstream_id: Optional(UpstreamId),
    hosts: Optional(Hosts),
    enable_websocket: Optional(Type.Boolean())
  },
  closed
)

export const PluginConfig = Type.Object({ ...described, ...stamps, id: Optional(Id), plugins: Plugins }, closed)
export const GlobalRule = Type.Object({ ...stamps, id: Optional(Id), plugins: Plugins }, closed)

const routeKeys = {
  ...described,
  id: Optional(Id),
  plugins: Optional(Plugins),
  plugin_config_id: Optional(Id),
  service_id: Optional(Id),
  upstream: Optional(InlineUpstream),
  upstream_id: Optional(UpstreamId),
  timeout: Optional(Timeout),
  enable_websocket: Optional(Type.Boolean())
}

/** `config.wasm` of a route: APISIX's route object without what Fastify itself says. */
export const RouteConfig = Type.Object(routeKeys, closed)

const Uri = Type.String({ minLength: 1, maxLength: 4096 })
const Methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE', 'PURGE']
/** An address, or a network: `10.0.0.0/8`. Checked by hand. */
const RemoteAddress = Type.String({ minLength: 1 })

/** A route of the file, of `routes` in code, or of the Admin API. */
export const Route = Type.Object(
  {
    ...routeKeys,
    ...stamps,
    /** An exact path, or with a `*` at its end everything that begins so. One of `uri` and `uris`. */
    uri: Optional(Uri),
    uris: Optional(Type.Array(Uri, { minItems: 1, uniqueItems: true })),
    host: Optional(Host),
    hosts: Optional(Hosts),
    remote_addr: Optional(RemoteAddress),
    remote_addrs: Optional(Type.Array(RemoteAddress, { minItems: 1, uniqueItems: true })),
    methods: Optional(Type.Array(Type.Enum(Methods), { uniqueItems: true })),
    /** Among the routes of the same path the one with the higher is tried first. */
    priority: Optional(Type.Integer({ default: 0 })),
    vars: Optional(Vars),
    /** 0: as if it was not there */
    status: Optional(Type.Union([Type.Literal(1), Type.Literal(0)], { default: 1 }))
  },
  closed
)

const resourceLists = {
  routes: Optional(Type.Array(Route)),
  services: Optional(Type.Array(Service)),
  upstreams: Optional(Type.Array(Upstream)),
  plugin_configs: Optional(Type.Array(PluginConfig)),
  global_rules: Optional(Type.Array(GlobalRule))
}

const Listen = Type.Object(
  {
    host: Optional(Type.String({ minLength: 1 })),
    port: Optional(Type.Integer({ minimum: 0, maximum: 65535 }))
  },
  closed
)

const AdminKey = Type.Object(
  {
    name: Optional(Type.String({ minLength: 1 })),
    key: Type.String({ minLength: 1 }),
    /** A viewer may only read. */
    role: Optional(Type.Enum(['admin', 'viewer'], { default: 'admin' }))
  },
  closed
)

/** One key for everything, or several with their roles. */
const AdminKeys = Type.Union([Type.String({ minLength: 1 }), Type.Array(AdminKey, { minItems: 1 })])
/** Addresses and networks. Checked by hand. */
const Addresses = Type.Array(Type.String({ minLength: 1 }))
/** This machine alone, by default */
const LocalAddresses = Type.Array(Type.String({ minLength: 1 }), { default: ['127.0.0.0/8', '::1'] })
/** Written as it is asked for, and without what a router takes for a parameter: it would hide what is the application's. */
const PATH = "^(?:/[\\w.~!$&'()+,;=@-]+)+$"
const Path = Type.String({ pattern: PATH })

export const Admin = Type.Object(
  {
    /** There is no default. */
    key: AdminKeys,
    prefix: Optional(Type.String({ pattern: PATH, default: '/apisix/admin' })),
    /** Who may use it */
    allow_admin: Optional(LocalAddresses),
    /** A listener of its own; without it the Admin API stands on the application's. */
    listen: Optional(Listen)
  },
  closed
)

const metricsKeys = {
  /** Who may read them */
  allow: Optional(LocalAddresses),
  /** A listener of their own; without it they stand on the Admin API's, or else on the application's. */
  listen: Optional(Listen)
}

/** Calls into filters are timed. Without a path they are served nowhere, and are in `app.wasmGateway.metrics` alone. */
export const MetricsOptions = Type.Object({ path: Optional(Path), ...metricsKeys }, closed)
/** Of a file, in which there is no code that would serve them. */
const MetricsOfFile = Type.Object({ path: Path, ...metricsKeys }, closed)

/** The page that shows what filters do. It stands on the Admin API's listener, or else on the application's. */
export const Inspector = Type.Object(
  {
    path: Path,
    /** By default the Admin API's */
    key: Optional(AdminKeys),
    /** By default the Admin API's */
    allow_admin: Optional(Addresses)
  },
  closed
)

/** Where the objects that the Admin API writes are kept: in memory, in a file, or in Redis. Exactly one; checked by hand. */
const Store = Type.Object(
  { file: Optional(Type.String({ minLength: 1 })), redis: Optional(Type.Literal(true)) },
  closed
)

const RedisAddress = Type.Object(
  { host: Type.String({ minLength: 1 }), port: Optional(Type.Integer({ minimum: 1, maximum: 65535 })) },
  closed
)

/** Where Redis is. The keys of ioredis keep ioredis's spelling. */
const RedisConnection = Type.Object(
  {
    /** `redis://user:password@host:port/db`, or `rediss://` */
    url: Optional(Type.String({ minLength: 1 })),
    host: Optional(Type.String({ minLength: 1 })),
    port: Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
    /** Of a socket of this machine */
    path: Optional(Type.String({ minLength: 1 })),
    family: Optional(Type.Enum([0, 4, 6])),
    db: Optional(Type.Integer({ minimum: 0 })),
    username: Optional(Type.String()),
    password: Optional(Type.String()),
    /** As of Node's `tls.connect`, no functions */
    tls: Optional(Type.Union([Type.Boolean(), Type.Record(Type.String(), Type.Unknown())])),
    /** Of Sentinel, which tells where the master `name` is */
    sentinels: Optional(Type.Array(RedisAddress, { minItems: 1 })),
    name: Optional(Type.String({ minLength: 1 })),
    sentinelUsername: Optional(Type.String()),
    sentinelPassword: Optional(Type.String()),
    enableTLSForSentinelMode: Optional(Type.Boolean()),
    /** Nodes of a cluster, which tell of the others */
    cluster: Optional(Type.Array(RedisAddress, { minItems: 1 })),
    /** By the address that Sentinel or a cluster tells: the one to use */
    natMap: Optional(Type.Record(Type.String(), RedisAddress)),
    /** Milliseconds */
    connectTimeout: Optional(Type.Integer({ minimum: 1, maximum: 60_000, default: 2000 })),
    connectionName: Optional(Type.String({ minLength: 1 })),
    /** What all keys and channels begin with: gateways with the same one share everything. */
    keyPrefix: Optional(Type.String({ default: 'wasm:' })),
    /** Milliseconds that a filter waits for an answer */
    timeout_ms: Optional(Type.Integer({ minimum: 1, maximum: 60_000, default: 50 })),
    /** Seconds that shared data is kept after it was set, by `vm_id`; of others for ever */
    ttl: Optional(Type.Record(Type.String(), Type.Number({ minimum: 0.001, maximum: 1_000_000 })))
  },
  closed
)

const Redis = Type.Union([Type.String({ minLength: 1 }), RedisConnection])

/** What filters call by its name: bytes in, bytes or nothing out. */
export type ForeignFunction = (parameters: Buffer) => Uint8Array | undefined

/** What `register` takes. */
export const Options = Type.Object(
  {
    plugins: Optional(Type.Array(PluginDeclaration)),
    ...resourceLists,
    foreign_functions: Optional(Type.Unsafe<Record<string, ForeignFunction>>({})), // checked by hand, in code only
    /** A file, or several that add up. */
    config: Optional(
      Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })])
    ),
    admin: Optional(Admin),
    store: Optional(Store),
    redis: Optional(Redis),
    metrics: Optional(MetricsOptions),
    inspector: Optional(Inspector)
  },
  closed
)

/** What a configuration file holds. */
export const ConfigFile = Type.Object(
  {
    wasm: Optional(Type.Object({ plugins: Optional(Type.Array(PluginDeclaration)) }, closed)),
    ...resourceLists,
    /** Of the command: where the gateway listens. */
    listen: Optional(Listen),
    admin: Optional(Admin),
    store: Optional(Store),
    redis: Optional(Redis),
    metrics: Optional(MetricsOfFile),
    inspector: Optional(Inspector)
  },
  closed
)

export type PluginDeclaration = Static<typeof PluginDeclaration>
export type PluginEntry = Static<typeof PluginEntry>
export type Upstream = Static<typeof InlineUpstream>
export type Timeout = Static<typeof Timeout>
export type Checks = Static<typeof Checks>
export type Service = Static<typeof Service>
export type PluginConfig = Static<typeof PluginConfig>
export type GlobalRule = Static<typeof GlobalRule>
export type Route = Static<typeof Route>
export type Admin = Static<typeof Admin>
export type MetricsOptions = Static<typeof MetricsOptions>
export type Inspector = Static<typeof Inspector>
export type Listen = Static<typeof Listen>
export type Store = Static<typeof Store>
export type Redis = Static<typeof Redis>
export type RouteConfig = Static<typeof RouteConfig>
export type Options = Static<typeof Options>
export type ConfigFile = Static<typeof ConfigFile>
