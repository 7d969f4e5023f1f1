// The host on its own: Proxy-Wasm without an HTTP server.

export { MemoryQueues, type Queues } from '../stores/queues.ts'
export { MemorySharedData, type SetResult, type SharedData, type SharedValue } from '../stores/shared-data.ts'
export { CALL_TIME_BOUNDS, CallTimes } from './call-times.ts'
export { type AllowedFunctions, allowOnly, UseReport } from './capabilities.ts'
export { type Clock, SYSTEM_CLOCK } from './clock.ts'
export { Filter } from './filter.ts'
export { type ForeignFunction, foreignFunctionsWith } from './foreign-functions.ts'
export { HeaderList, type HeaderMap, isHeader } from './header-map.ts'
export { type HttpContext, Outcome, type Pending } from './http-context.ts'
export { type Inspection, inspectModule } from './inspection.ts'
export { DEFAULT_LIMITS, type InstanceLimits } from './limits.ts'
export { LogRate } from './log-rate.ts'
export { type Metric, Metrics, MetricType } from './metrics.ts'
export {
  type AbiVersion,
  DEFAULT_MODULE_LIMITS,
  digestOf,
  loadModule,
  type Module,
  type ModuleLimits
} from './module.ts'
export {
  type CallbackMessage,
  callbackChannel,
  type GrpcCallMessage,
  grpcCallChannel,
  type HttpCallMessage,
  httpCallChannel,
  type Observer
} from './observer.ts'
export { Plugin, type PluginStatus } from './plugin.ts'
export type { PluginContext } from './plugin-context.ts'
export { type CallResult, PluginCounts } from './plugin-counts.ts'
export type { PluginSettings, TickLease } from './plugin-settings.ts'
export { PropertyMap } from './property-map.ts'
export type { SdkGuess } from './sdk.ts'
export { StandingContext } from './standing-context.ts'
export type {
  Body,
  GrpcCall,
  GrpcClient,
  GrpcEvents,
  GrpcStream,
  HttpCall,
  HttpCallClient,
  HttpCallDone,
  HttpCallResponse,
  LocalResponse,
  Logger,
  PropertyValue,
  Stream
} from './stream.ts'
