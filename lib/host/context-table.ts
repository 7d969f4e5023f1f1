import type { Context } from './context.ts'

/** The contexts of an instance that are alive, by their ids: small numbers, used again and again. */
export class ContextTable {
  readonly #slots: (Context | undefined)[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: number): Context | undefined {
    return this.#slots[id]
  }

  add(context: Context): void {
    this.#slots[context.id] = context
    this.#size++
  }

  delete(context: Context): void {
    if (this.#slots[context.id] !== context) return
    this.#slots[context.id] = undefined
    this.#size--
  }

  clear(): void {
    this.#slots.length = 0
    this.#size = 0
  }

  /** In the order of their ids; what is there now. */
  values(): Context[] {
    return this.#slots.filter((context) => context !== undefined)
  }
}
