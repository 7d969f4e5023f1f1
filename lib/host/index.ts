// The host on its own: Proxy-Wasm without an HTTP server.

export { Filter } from './filter.ts'
export { HeaderList, type HeaderMap, isHeader } from './header-map.ts'
export { type HttpContext, Outcome, type Pending } from './http-context.ts'
export type { PluginSettings } from './instance.ts'
export { type AbiVersion, digestOf, loadModule, type Module } from './module.ts'
export { Plugin, type PluginStatus } from './plugin.ts'
export type {
  Body,
  HttpCall,
  HttpCallClient,
  HttpCallResponse,
  LocalResponse,
  Logger,
  PropertyValue,
  Stream
} from './stream.ts'
