/** The wire types of protobuf that are skipped by a length of their own. */
const WireType = { Varint: 0, Fixed64: 1, Bytes: 2, Fixed32: 5 } as const

/** `envoy_grpc` of GrpcService, and `cluster_name` of what that holds: both are field 1 (config/core/v3/grpc_service.proto). */
const FIRST_FIELD = 1

/**
 * The upstream that a filter names for a gRPC call: filters written for Envoy send a serialized GrpcService, others the
 * name alone. No name can be taken for the message, which begins with a line feed.
 */
export function grpcUpstream(bytes: Buffer): string {
  const envoyGrpc = bytesField(bytes, FIRST_FIELD)
  const clusterName = envoyGrpc && bytesField(envoyGrpc, FIRST_FIELD)
  return (clusterName ?? bytes).toString('utf8')
}

/** The last value of a field in a message, as protobuf has it; `undefined` when it is not there, or that is no message. */
function bytesField(message: Buffer, wanted: number): Buffer | undefined {
  let at = 0
  let found: Buffer | undefined

  /** Answers −1 for a number that is cut off, or too long for anything that can stand here. */
  function varint(): number {
    let value = 0
    for (let i = 0; i < 10 && at < message.length; i++) {
      const byte = message[at++]!
      if (i < 5) value += (byte & 0x7f) * 2 ** (7 * i)
      if (byte < 0x80) return value
    }
    return -1
  }

  while (at < message.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    if (tag === -1 || field === 0) return undefined
    switch (tag % 8) {
      case WireType.Varint:
        if (varint() === -1) return undefined
        break
      case WireType.Fixed64:
        at += 8
        break
      case WireType.Bytes: {
        const length = varint()
        if (length === -1) return undefined
        if (field === wanted) found = message.subarray(at, at + length)
        at += length
        break
      }
      case WireType.Fixed32:
        at += 4
        break
      default:
        return undefined
    }
  }
  return at === message.length ? found : undefined
}
