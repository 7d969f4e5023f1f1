import { DEFAULT_LIMITS } from './limits.ts'
import type { PluginSettings } from './plugin-settings.ts'

const SECOND = 1000

/** How many lines a plugin logs in a second. What is beyond is dropped, and counted in one line when the second is over. */
export class LogRate {
  readonly #limit: number
  readonly #report: (dropped: number) => void
  readonly #now: () => number
  #left = 0
  #end = Number.NEGATIVE_INFINITY
  #dropped = 0
  /** Tells of what was dropped when no further line does. */
  #timer: ReturnType<typeof setTimeout> | undefined

  /**
   * @param limit 0: none
   * @param report writes the line that counts
   */
  constructor(limit: number, report: (dropped: number) => void, now: () => number = () => performance.now()) {
    this.#limit = limit
    this.#report = report
    this.#now = now
  }

  /** Whether a line may be written now. It counts. */
  take(): boolean {
    if (this.#limit === 0) return true
    const now = this.#now()
    if (now >= this.#end) {
      if (this.#dropped > 0) this.#tell()
      this.#end = now + SECOND
      this.#left = this.#limit
    }
    if (this.#left > 0) {
      this.#left--
      return true
    }
    if (this.#dropped === 0) this.#timer = setTimeout(() => this.#tell(), this.#end - now).unref()
    this.#dropped++
    return false
  }

  #tell(): void {
    clearTimeout(this.#timer)
    const dropped = this.#dropped
    this.#dropped = 0
    this.#report(dropped)
  }
}

/** By the settings, which all instances of a plugin have in common. */
const rates: WeakMap<PluginSettings, LogRate> = new WeakMap()
const failureRates: WeakMap<PluginSettings, LogRate> = new WeakMap()

/** How many failures of a plugin are told in a second: apart from its lines, which must not hide them. */
const FAILURES = 100

/** Whether one more failure of a plugin may be told now. */
export function mayTellFailure(settings: PluginSettings): boolean {
  let rate = failureRates.get(settings)
  if (rate === undefined) {
    const { log, name } = settings
    rate = new LogRate(FAILURES, (dropped) => {
      log.error(
        { plugin: name },
        `${name}: it failed another ${dropped === 1 ? 'time' : `${dropped} times`} in a second`
      )
    })
    failureRates.set(settings, rate)
  }
  return rate.take()
}

/**
 * Whether one more line of a plugin may be written now. Lines of the host count too where a filter can cause one with every
 * call.
 */
export function mayLog(settings: PluginSettings): boolean {
  let rate = rates.get(settings)
  if (rate === undefined) {
    const { log, name, limits = DEFAULT_LIMITS } = settings
    rate = new LogRate(limits.logLines, (dropped) => {
      const lines = dropped === 1 ? '1 line was' : `${dropped} lines were`
      const why = `it wrote more than ${limits.logLines} in a second (limits.log_lines)`
      log.warn({ plugin: name }, `${name}: ${lines} dropped: ${why}`)
    })
    rates.set(settings, rate)
  }
  return rate.take()
}
