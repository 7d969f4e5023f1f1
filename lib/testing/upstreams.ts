import { parseAddress } from '../config/validate.ts'
import type { CallHosts } from '../gateway/upstream/call-hosts.ts'
import type { Clock, Logger } from '../host/index.ts'
import type { RecordedGrpcCall } from './grpc-upstreams.ts'
import type { RecordedHttpCall } from './http-upstreams.ts'

/** Where the calls of one filter are noted, and what goes wrong with them. */
export interface CallRecorder {
  /** The filter's name */
  readonly filter: string
  readonly clock: Clock
  /** Where a line about it goes now. */
  log(): Logger
  readonly calls: RecordedHttpCall[]
  readonly grpcCalls: RecordedGrpcCall[]
  /** The exchange that the filter acts for, if it acts for one. */
  exchange(): { readonly calls: RecordedHttpCall[]; readonly grpcCalls: RecordedGrpcCall[] } | undefined
  /**
   * A fake is at work.
   *
   * @param what what the filter waits for
   * @returns is called when it is done
   */
  begin(what: string): () => void
  /** Something is wrong with a fake: the test is told. */
  fail(error: unknown): void
  warn(message: string): void
}

/** The fake of a name, or that of all other names, `*`. */
export function fakeOf<Fake>(fakes: Readonly<Record<string, Fake>>, name: string): Fake | undefined {
  if (Object.hasOwn(fakes, name)) return fakes[name]
  return Object.hasOwn(fakes, '*') ? fakes['*'] : undefined
}

/** Whether the plugin's `hosts` list a name. One with a dot or a port is an address, any other the id of an upstream. */
export function permits(
  fakes: Readonly<Record<string, unknown>>,
  name: string,
  hosts: CallHosts | undefined,
  log: Logger
): boolean {
  const isUpstream = (id: string) => Object.hasOwn(fakes, id) && !(parseAddress(id) !== undefined && /[.:]/.test(id))
  return hosts === undefined || hosts.permits(name, 'http', isUpstream, log)
}
