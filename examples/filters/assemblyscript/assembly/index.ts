// Masks card numbers in the bodies of responses that are text or JSON: of 13 to 19 digits in a
// row the last four stay. A number may lie in two chunks, so digits at the end of a chunk are
// kept back until it is known what follows.
//
// The configuration is the character that stands in place of a digit.

export * from '@gcoredev/proxy-wasm-sdk-as/assembly/proxy'

import {
  BufferTypeValues,
  Context,
  Counter,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  get_buffer_bytes,
  RootContext,
  registerRootContext,
  set_buffer_bytes,
  set_property,
  stream_context
} from '@gcoredev/proxy-wasm-sdk-as/assembly'
import { ensureContext } from '@gcoredev/proxy-wasm-sdk-as/assembly/runtime'

const SHORTEST = 13
const LONGEST = 19
const SHOWN = 4

class RedactRoot extends RootContext {
  mask: u8 = 0
  counter: Counter | null = null

  onConfigure(size: u32): bool {
    super.onConfigure(size)
    // The SDK looks the end of the plugin context up among the streams, and aborts where it
    // finds none.
    ensureContext(this.context_id, this.context_id)
    const configuration = this.getConfiguration()
    if (configuration.length !== 1 || configuration.charCodeAt(0) > 0x7f) return false
    this.mask = configuration.charCodeAt(0) as u8
    this.counter = new Counter('card_numbers_masked')
    return true
  }

  createContext(id: u32): Context {
    return new RedactStream(id, this)
  }
}

class RedactStream extends Context {
  private applies: bool = false
  /** Digits at the end of the last chunk. */
  private kept: Uint8Array = new Uint8Array(0)

  constructor(
    id: u32,
    private plugin: RedactRoot
  ) {
    super(id, plugin)
  }

  onResponseHeaders(_count: u32, _eos: bool): FilterHeadersStatusValues {
    const type = stream_context.headers.response.get('content-type')
    this.applies = type.startsWith('text/') || type.startsWith('application/json')
    if (this.applies) {
      // Hosts like APISIX call with the body only where a filter asks for it.
      set_property('wasm_process_resp_body', String.UTF8.encode('1'))
    }
    return FilterHeadersStatusValues.Continue
  }

  onResponseBody(size: usize, eos: bool): FilterDataStatusValues {
    if (!this.applies) return FilterDataStatusValues.Continue
    const bytes = join(this.kept, get_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, size as u32))
    let end = bytes.length
    // More than that is no card number, however it goes on.
    if (!eos) while (end > 0 && bytes.length - end <= LONGEST && isDigit(bytes[end - 1])) end--
    this.kept = bytes.slice(end)
    const masked = bytes.slice(0, end)
    const count = maskIn(masked, this.plugin.mask)
    if (count > 0) this.plugin.counter!.increment(count)
    set_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, size as u32, masked.buffer)
    return FilterDataStatusValues.Continue
  }
}

/** Masks in place, and answers how many numbers there were. */
function maskIn(bytes: Uint8Array, mask: u8): u32 {
  let count: u32 = 0
  for (let from = 0; from < bytes.length; from++) {
    let to = from
    while (to < bytes.length && isDigit(bytes[to])) to++
    const length = to - from
    if (length >= SHORTEST && length <= LONGEST) {
      bytes.fill(mask, from, to - SHOWN)
      count++
    }
    from = to
  }
  return count
}

function isDigit(byte: u8): bool {
  return byte >= 48 && byte <= 57
}

function join(first: Uint8Array, second: ArrayBuffer): Uint8Array {
  const bytes = new Uint8Array(first.length + second.byteLength)
  bytes.set(first)
  bytes.set(Uint8Array.wrap(second), first.length)
  return bytes
}

registerRootContext((id: u32) => new RedactRoot(id), 'redact')
