import { type Instrumented, instrument, type Wanted } from '../../../lib/host/metering/instrument.ts'

/** Rewrites a module at once. */
export function instrumented(bytes: Uint8Array, wanted: Wanted): Instrumented {
  const steps = instrument(bytes, wanted)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
