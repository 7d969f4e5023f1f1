import type { Resources } from '../config/resources.ts'
import { configurationOf } from '../config/validate.ts'
import { type Plugin, StandingContext } from '../host/index.ts'

/** The plugin contexts of those plugins that are declared with a configuration of their own. */
export class StandingContexts {
  readonly #contexts: readonly StandingContext[]

  constructor(resources: Resources, plugins: ReadonlyMap<string, Plugin>) {
    this.#contexts = [...resources.plugins.values()]
      .filter(({ conf }) => conf !== undefined)
      .map(({ name, conf, semantics }) => {
        const configuration = configurationOf({ conf: conf! }, `plugins.${name}`, semantics)
        return new StandingContext(plugins.get(name)!, configuration)
      })
  }

  start(): void {
    for (const context of this.#contexts) context.start()
  }

  async close(): Promise<void> {
    await Promise.all(this.#contexts.map((context) => context.close()))
  }
}
