import createError from '@fastify/error'

type Cause = { cause?: Error }

/** An error of the gateway: `code` tells which. */
export interface WasmError extends Error {
  code: string
  name: string
  statusCode?: number
}

/** Makes an error, with or without `new`; an object with the `cause` may come last. */
export interface WasmErrorConstructor<Args extends unknown[]> {
  new (...parameters: [...Args, cause?: Cause]): WasmError
  (...parameters: [...Args, cause?: Cause]): WasmError
  readonly prototype: WasmError
}

// Found when the server starts (or, for a route declared before the plugin was loaded, at its first request).

/** An option, an object of the configuration or a route's `config.wasm` is not what it must be. */
export const FST_WASM_OPTIONS_INVALID: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_OPTIONS_INVALID',
  'The configuration is invalid: %s'
)

/** A route, service, plugin_config or global rule names a plugin that `plugins` does not declare. */
export const FST_WASM_PLUGIN_UNKNOWN: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>('FST_WASM_PLUGIN_UNKNOWN', '%s: unknown plugin [%s]; declared are: %s')

/** A `service_id`, `plugin_config_id` or `upstream_id` names an object that is not there. */
export const FST_WASM_REFERENCE_UNKNOWN: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>('FST_WASM_REFERENCE_UNKNOWN', '%s: there is no %s with the id [%s]')

/** A configuration file cannot be read, or is not the YAML or JSON that its name says. */
export const FST_WASM_CONFIG_UNREADABLE: WasmErrorConstructor<[string, string]> = createError<[string, string, Cause?]>(
  'FST_WASM_CONFIG_UNREADABLE',
  'The configuration file %s cannot be read: %s'
)

/** The file of a plugin's module cannot be read. */
export const FST_WASM_FILE_UNREADABLE: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>('FST_WASM_FILE_UNREADABLE', 'plugin [%s]: the file %s cannot be read: %s')

/** The bytes are no WebAssembly module, or one that this host cannot load. */
export const FST_WASM_MODULE_INVALID: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>('FST_WASM_MODULE_INVALID', 'plugin [%s]: %s is not a Proxy-Wasm module that can be loaded: %s')

/** The module is not the one that the plugin's `sha256` names. */
export const FST_WASM_DIGEST_MISMATCH: WasmErrorConstructor<[string, string, string, string]> = createError<
  [string, string, string, string, Cause?]
>('FST_WASM_DIGEST_MISMATCH', 'plugin [%s]: the module %s is refused: its SHA-256 digest is %s, and `sha256` wants %s')

/** The module exports no ABI version of Proxy-Wasm that this host knows. */
export const FST_WASM_ABI_UNKNOWN: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>(
  'FST_WASM_ABI_UNKNOWN',
  'plugin [%s]: %s exports no function proxy_abi_version_0_1_0, _0_2_0 or _0_2_1 (it exports %s); ' +
    'was it built with a Proxy-Wasm SDK?'
)

/** The gateway is registered in this scope, or in one around it. */
export const FST_WASM_ALREADY_REGISTERED: WasmErrorConstructor<[]> = createError<[Cause?]>(
  'FST_WASM_ALREADY_REGISTERED',
  'fastify-wasm-gateway is registered in this scope already; register it once, with all plugins'
)

/** The objects that the Admin API has written cannot be read or kept. */
export const FST_WASM_STORE_FAILED: WasmErrorConstructor<[string, string]> = createError<[string, string, Cause?]>(
  'FST_WASM_STORE_FAILED',
  'the store %s failed: %s',
  503
)

// While requests are served.

/** A call into a module trapped, or the module ended itself; its instance is discarded. */
export const FST_WASM_TRAP: WasmErrorConstructor<[string, string, string]> = createError<
  [string, string, string, Cause?]
>('FST_WASM_TRAP', 'plugin [%s] trapped in %s: %s', 503)

/** An instance could not be started: instantiation, its entry function or `proxy_on_vm_start` failed. */
export const FST_WASM_START_FAILED: WasmErrorConstructor<[string, string]> = createError<[string, string, Cause?]>(
  'FST_WASM_START_FAILED',
  'plugin [%s] failed to start: %s',
  503
)

/** `proxy_on_configure` refused a configuration. It is tried again, at most once a second. */
export const FST_WASM_CONFIGURE_FAILED: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_CONFIGURE_FAILED',
  'plugin [%s]: failed to run proxy_on_configure, the filter refused its configuration',
  503
)

/** What the client is told when a filter failed: no detail of the inside. */
export const FST_WASM_FILTER_FAILED: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_FILTER_FAILED',
  'plugin [%s] failed to run',
  503
)

/** A filter has ended a response whose beginning was sent, or the server has closed while a filter held it. */
export const FST_WASM_RESPONSE_ENDED: WasmErrorConstructor<[]> = createError<[Cause?]>(
  'FST_WASM_RESPONSE_ENDED',
  'the response has been ended',
  503
)

/** A request body that a filter reads is longer than the plugin's `limits.body_mib`. */
export const FST_WASM_REQUEST_BODY_TOO_LARGE: WasmErrorConstructor<[number]> = createError<[number, Cause?]>(
  'FST_WASM_REQUEST_BODY_TOO_LARGE',
  'the request body is longer than the %d bytes that a filter may read',
  413
)

/** What a filter holds of a response body is longer than the plugin's `limits.body_mib`. */
export const FST_WASM_RESPONSE_BODY_TOO_LARGE: WasmErrorConstructor<[number]> = createError<[number, Cause?]>(
  'FST_WASM_RESPONSE_BODY_TOO_LARGE',
  'the response body is longer than the %d bytes that a filter may hold',
  502
)

/** No upstream is configured for a proxied route, or none of its nodes may be picked. */
export const FST_WASM_UPSTREAM_UNAVAILABLE: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_UPSTREAM_UNAVAILABLE',
  'no upstream node is available: %s',
  503
)

/** The upstream refused or reset the connection, failed TLS, or answered no HTTP. */
export const FST_WASM_UPSTREAM_FAILED: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_UPSTREAM_FAILED',
  'the upstream failed: %s',
  502
)

/** The upstream did not connect, take the request or answer in the time of `timeout`. */
export const FST_WASM_UPSTREAM_TIMEOUT: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_UPSTREAM_TIMEOUT',
  'the upstream timed out: %s',
  504
)

// In tests of filters (`fastify-wasm-gateway/testing`).

/** A filter holds an exchange, and nothing is under way that could resume it. */
export const FST_WASM_EXCHANGE_STALLED: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_EXCHANGE_STALLED',
  'the exchange would never end: %s'
)

/** The test asks for what cannot be done. */
export const FST_WASM_TEST_INVALID: WasmErrorConstructor<[string]> = createError<[string, Cause?]>(
  'FST_WASM_TEST_INVALID',
  '%s'
)
