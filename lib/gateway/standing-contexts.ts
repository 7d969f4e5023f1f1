import type { Resources } from '../config/resources.ts'
import { configurationOf } from '../config/validate.ts'
import { type Plugin, StandingContext } from '../host/index.ts'

interface Standing {
  readonly plugin: Plugin
  readonly configuration: Buffer
  readonly context: StandingContext
}

/** The plugin contexts of those plugins that are declared with a configuration of their own. */
export class StandingContexts {
  #standing: readonly Standing[] = []
  #started = false

  /** Takes over a configuration. Contexts whose plugin and configuration are the same stay. */
  update(resources: Resources, plugins: ReadonlyMap<string, Plugin>): void {
    const before = new Set(this.#standing)
    const standing: Standing[] = []
    for (const declaration of resources.plugins.values()) {
      const { name, conf } = declaration
      if (conf === undefined) continue
      const plugin = plugins.get(name)!
      const configuration = configurationOf({ conf }, `plugins.${name}`, declaration)
      const old = this.#standing.find((old) => old.plugin === plugin && old.configuration.equals(configuration))
      if (old !== undefined) before.delete(old)
      standing.push(old ?? { plugin, configuration, context: new StandingContext(plugin, configuration) })
      if (old === undefined && this.#started) standing.at(-1)!.context.start()
    }
    this.#standing = standing
    for (const { context } of before) context.close()
  }

  start(): void {
    this.#started = true
    for (const { context } of this.#standing) context.start()
  }

  async close(): Promise<void> {
    await Promise.all(this.#standing.map(({ context }) => context.close()))
  }
}
