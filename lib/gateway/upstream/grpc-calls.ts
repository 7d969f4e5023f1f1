import type { GrpcCall, GrpcClient, GrpcEvents, GrpcStream, Logger, LogRate } from '../../host/index.ts'
import type { CallHosts } from './call-hosts.ts'
import { GrpcExchange } from './grpc-exchange.ts'
import { failedCalls } from './http-calls.ts'
import { Http2Connections } from './http2-connections.ts'
import type { Upstreams } from './upstreams.ts'

/**
 * Makes the calls that filters ask for with `proxy_grpc_call` and `proxy_grpc_stream`: to a configured upstream by its id,
 * over TLS where its scheme is https, or to a `host[:port]`, without TLS.
 */
export class GrpcCalls implements GrpcClient {
  readonly #upstreams: Upstreams
  readonly #log: Logger
  readonly #connections: Http2Connections = new Http2Connections()
  readonly #lines: LogRate

  constructor(upstreams: Upstreams, log: Logger) {
    this.#upstreams = upstreams
    this.#log = log
    this.#lines = failedCalls(log)
  }

  /** Makes calls that may reach some hosts only. */
  within(hosts: CallHosts): GrpcClient {
    return { open: (call, events) => this.open(call, events, hosts) }
  }

  /** @param hosts what it may reach; absent: anything */
  open(call: GrpcCall, events: GrpcEvents, hosts?: CallHosts): GrpcStream | undefined {
    const upstream = this.#upstreams.find(call.upstream, 'http', hosts)
    if (upstream === undefined) return undefined
    return new GrpcExchange(this.#connections, upstream, call, events, (reason) => {
      if (!this.#lines.take()) return
      this.#log.warn({ upstream: call.upstream }, `gRPC call to ${call.upstream} failed: ${reason}`)
    })
  }

  close(): void {
    this.#connections.close()
  }
}
