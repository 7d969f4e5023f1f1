import FindMyWay from 'find-my-way'

type Tree = FindMyWay.Instance<FindMyWay.HTTPVersion.V1>

/** Fewer than this many emptied places are not worth a new tree. */
const MIN_REBUILD = 64

interface Place<Item> {
  readonly prefix: string
  /** `undefined` when it was deleted: the tree keeps the place until it is made anew. */
  item: Item | undefined
}

/** Items by prefix: finds those of all prefixes of a text, the longest first. */
export class Prefixes<Item> {
  readonly #places: Map<string, Place<Item>> = new Map()
  #tree: Tree = newTree()
  #deleted = 0

  get(prefix: string): Item | undefined {
    return this.#places.get(prefix)?.item
  }

  set(prefix: string, item: Item): void {
    const known = this.#places.get(prefix)
    if (known !== undefined) {
      if (known.item === undefined) this.#deleted--
      known.item = item
      return
    }
    const place = { prefix, item }
    this.#places.set(prefix, place)
    insert(this.#tree, place)
  }

  delete(prefix: string): void {
    const place = this.#places.get(prefix)
    if (place?.item === undefined) return
    place.item = undefined
    this.#deleted++
    if (this.#deleted > MIN_REBUILD && this.#deleted * 2 > this.#places.size) this.#rebuild()
  }

  /** @yields the item of the longest prefix of the text, then of the next shorter one, … */
  *of(text: string): Generator<Item> {
    let rest = text
    for (;;) {
      const place = this.#tree.find('GET', pathOf(rest))?.store as Place<Item> | undefined
      if (place === undefined) return
      if (place.item !== undefined) yield place.item
      if (place.prefix === '') return
      rest = place.prefix.slice(0, -1)
    }
  }

  #rebuild(): void {
    this.#tree = newTree()
    this.#deleted = 0
    for (const [prefix, place] of this.#places) {
      if (place.item === undefined) this.#places.delete(prefix)
      else insert(this.#tree, place)
    }
  }
}

function newTree(): Tree {
  return FindMyWay({ maxParamLength: Number.MAX_SAFE_INTEGER })
}

function insert(tree: Tree, place: { readonly prefix: string }): void {
  // A colon would begin a parameter.
  tree.on('GET', `${pathOf(place.prefix).replaceAll(':', '::')}*`, ignore, place)
}

/** A text as find-my-way takes it for a path: it would decode escapes, and cut off a query. */
function pathOf(text: string): string {
  return `/${/[%?#;*~]/.test(text) ? text.replace(/[%?#;*~]/g, (char) => `~${char.charCodeAt(0)}~`) : text}`
}

function ignore(): void {}
