import type { Instance } from '../instance.ts'
import { MAX_NAME } from '../limits.ts'
import { MetricType } from '../metrics.ts'
import { refusalOf } from '../refusals.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Metrics" of the specification. Values are 64 bits; those of a gauge may be read as signed. */
export function metrics(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  const refusal = refusalOf(settings.metrics, settings.vmId, 'metrics')
  return {
    /**
     * Any status but Ok would trap Rust's SDK, and Go's panics later, at the first use of a metric that is not there: when
     * there is no room for it, the filter gets one that takes what it is given, and forgets it.
     */
    proxy_define_metric(type: number, nameData: number, nameSize: number, returnId: number): number {
      if (type >>> 0 > MetricType.Histogram) return Status.BadArgument
      const name = memory.view(nameData, nameSize)
      if (name === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
      const { metrics, vmId, name: plugin } = settings
      const isTooLong = name.length > MAX_NAME
      const id = isTooLong ? undefined : metrics.define(vmId, type as MetricType, name.toString(), plugin)
      if (id !== undefined) refusal.worked()
      else refusal.refused(settings, `there is no room for another metric of vm_id [${vmId}]: it is not kept`)
      memory.setU32(returnId, id ?? metrics.forgetful(type as MetricType))
      return Status.Ok
    },

    proxy_increment_metric(id: number, delta: bigint): number {
      const metric = settings.metrics.get(settings.vmId, id >>> 0)
      if (metric === undefined) return Status.NotFound
      if (metric.type === MetricType.Histogram) return Status.BadArgument
      // An increment of 0 is Ok, where Envoy refuses it: Go's SDK panics at anything else.
      if (metric.type === MetricType.Counter && delta < 0n) return Status.BadArgument
      metric.value = BigInt.asUintN(64, metric.value + delta)
      return Status.Ok
    },

    /** Sets a counter, as the specification has it; Envoy adds. */
    proxy_record_metric(id: number, value: bigint): number {
      const metric = settings.metrics.get(settings.vmId, id >>> 0)
      if (metric === undefined) return Status.NotFound
      const recorded = BigInt.asUintN(64, value)
      if (metric.type === MetricType.Histogram) {
        metric.value += recorded
        metric.count++
      } else {
        metric.value = recorded
      }
      return Status.Ok
    },

    proxy_get_metric(id: number, returnValue: number): number {
      if (!memory.has(returnValue, 8)) return Status.InvalidMemoryAccess
      const metric = settings.metrics.get(settings.vmId, id >>> 0)
      if (metric === undefined) return Status.NotFound
      if (metric.type === MetricType.Histogram) return Status.BadArgument
      memory.setU64(returnValue, metric.value)
      return Status.Ok
    }
  }
}
