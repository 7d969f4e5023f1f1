// Tests of filters: the same host, without a server.

export type { Chain, ExchangeInput } from './chain.ts'
export type { Exchange, LocalReply, Waiting } from './exchange.ts'
export type { FilterAction } from './exchange-run.ts'
export type { FilterView, LoadedFilter } from './filter-view.ts'
export type { FakedGrpcCall, GrpcAnswer, GrpcUpstream, RecordedGrpcCall } from './grpc-upstreams.ts'
export type { RecordedHttpCall, Upstream, UpstreamRequest, UpstreamResponse } from './http-upstreams.ts'
export { type ChainMember, type FilterOptions, loadChain, loadFilter, type Surroundings } from './load.ts'
export type { LogLine } from './log-lines.ts'
export type { Bytes, Headers, RequestInput, ResponseInput, SeenRequest, SeenResponse } from './message.ts'
export type { MetricValue, QueuesView, SharedDataView } from './stores.ts'
