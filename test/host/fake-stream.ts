import {
  HeaderList,
  type HttpContext,
  type LocalResponse,
  PropertyMap,
  type PropertyValue,
  type Stream
} from '../../lib/host/index.ts'
import { RecordingLogger } from './recording-logger.ts'

const REQUEST = [':method', 'GET', ':path', '/', ':authority', 'test.example', ':scheme', 'http']

/** Response headers: written from the first request callback on, read when the response is there. */
class ResponseList extends HeaderList {
  override readable = false
}

/** One HTTP exchange that exists only in memory. */
export class FakeStream implements Stream {
  readonly log: RecordingLogger = new RecordingLogger()
  readonly requestHeaders: HeaderList
  readonly responseHeaders: ResponseList
  readonly requestTrailers: HeaderList = new HeaderList([])
  readonly responseTrailers: HeaderList = new HeaderList([])
  /** What the exchange itself answers; what filters set does not replace it. */
  readonly builtIn: Map<string, PropertyValue> = new Map()
  readonly properties: PropertyMap = new PropertyMap()
  readonly localResponses: LocalResponse[] = []
  resets = 0
  /** The contexts that are told when the exchange is interrupted. */
  readonly contexts: HttpContext[] = []

  /** @param headers name, value, … after the pseudo-headers of a GET of / */
  constructor(headers: readonly string[] = []) {
    this.requestHeaders = new HeaderList([...REQUEST, ...headers], [':method', ':path', ':authority', ':scheme'])
    this.responseHeaders = new ResponseList([], [':status'])
  }

  /** The response arrives. */
  respond(headers: readonly string[] = []): void {
    this.responseHeaders.assign([':status', '200', ...headers])
    this.responseHeaders.readable = true
  }

  get interrupted(): boolean {
    return this.resets > 0 || this.localResponses.length > 0
  }

  getProperty(path: string): PropertyValue | undefined {
    return this.builtIn.get(path) ?? this.properties.get(path)
  }

  setProperty(path: string, value: Buffer): boolean {
    return this.properties.set(path, value)
  }

  sendLocalResponse(response: LocalResponse): void {
    this.localResponses.push(response)
    for (const context of this.contexts) context.wake()
  }

  reset(): void {
    this.resets++
    for (const context of this.contexts) context.wake()
  }
}
