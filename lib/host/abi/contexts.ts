import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Context lifecycle" of the specification. */
export function contexts(instance: Instance): HostFunctions {
  return {
    /** Until the callback returns; the current context stays what it is. */
    proxy_set_effective_context(contextId: number): number {
      const context = instance.contexts.get(contextId >>> 0)
      if (context === undefined) return Status.BadArgument
      instance.effective = context
      return Status.Ok
    },

    proxy_done(): number {
      return instance.active?.done() ? Status.Ok : Status.NotFound
    }
  }
}
