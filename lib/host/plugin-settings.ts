import type { Queues } from '../stores/queues.ts'
import type { SharedData } from '../stores/shared-data.ts'
import type { AllowedFunctions } from './capabilities.ts'
import type { Clock } from './clock.ts'
import type { ForeignFunction } from './foreign-functions.ts'
import type { InstanceLimits } from './limits.ts'
import type { Metrics } from './metrics.ts'
import type { Observer } from './observer.ts'
import type { PluginCounts } from './plugin-counts.ts'
import type { GrpcClient, HttpCallClient, Logger } from './stream.ts'

/** Something that one process at a time has, of many. */
export interface TickLease {
  readonly isHeld: boolean
  /** From now on it is tried to have it. @returns what ends that */
  want(): () => void
}

/** What an instance is made with: the plugin's declaration, as the host needs it. */
export interface PluginSettings {
  readonly name: string
  /** Which host's habits the filter was written for. */
  readonly semantics: 'apisix' | 'envoy'
  /** The scope of its shared data, queues and metrics; what the property `plugin_vm_id` answers. */
  readonly vmId: string
  /** What the property `plugin_root_id` answers. */
  readonly rootId: string
  /** What `proxy_on_vm_start` reads. */
  readonly vmConfiguration: Buffer
  /** The WASI environment. */
  readonly environment: Readonly<Record<string, string>>
  readonly log: Logger
  readonly httpCalls: HttpCallClient
  readonly grpcCalls: GrpcClient
  readonly sharedData: SharedData
  readonly queues: Queues
  readonly metrics: Metrics
  /** What `proxy_call_foreign_function` finds. */
  readonly foreignFunctions: ReadonlyMap<string, ForeignFunction>
  /** Says whether its ticks run in this process; absent: they do. */
  readonly tickLease?: TickLease | undefined
  /** By default `DEFAULT_LIMITS` */
  readonly limits?: InstanceLimits
  /** The host functions that it may call; absent: all. */
  readonly allow?: AllowedFunctions | undefined
  /** By default the system's */
  readonly clock?: Clock
  /** Where is counted what happens; absent: nowhere */
  readonly counts?: PluginCounts
  /** Who watches what happens; absent: nobody */
  readonly observer?: Observer | undefined
}
