import { constants } from 'node:os'

const SIGNALS = ['SIGTERM', 'SIGINT'] as const
/** npm and npx pass on a signal that a terminal has sent to everybody: two in this time are one. */
const SAME_SIGNAL_MS = 500

/** Resolves with the first signal that is to end the process; a later one ends it at once. */
export function termination(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first: number | undefined
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (first === undefined) {
          first = performance.now()
          resolve(signal)
        } else if (performance.now() - first > SAME_SIGNAL_MS) {
          process.exit(128 + constants.signals[signal])
        }
      })
    }
  })
}
