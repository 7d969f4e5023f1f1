/**
 * A header map as the ABI sees one: names in lower case, values as latin1 strings (one character per byte, so that
 * bytes survive), repeated headers repeated, pseudo-headers first.
 *
 * The functions that write answer false, and change nothing, where the map is read-only or the name or value is none
 * that HTTP allows.
 */
export interface HeaderMap {
  /** Whether there is anything to read yet. A response's headers may be written before they can be read. */
  readonly readable: boolean
  readonly writable: boolean
  /** How many headers there are. */
  readonly size: number
  /** name, value, name, value, … */
  entries(): readonly string[]
  /** The first value. The name is in lower case. */
  get(name: string): string | undefined
  /** Appends a value; sets the one value of a pseudo-header. */
  add(name: string, value: string): boolean
  /** Leaves exactly this value. */
  replace(name: string, value: string): boolean
  /** Removes all values. Pseudo-headers stay: a request without a path cannot be sent. */
  remove(name: string): boolean
  /** Puts name, value, … in place of all headers. Pseudo-headers that are not among them stay. */
  assign(pairs: readonly string[]): boolean
}

/** By code of a character, 1 where a name may have it, and where a value may: faster than a regular expression. */
const IN_NAME = charactersOf(/[!#$%&'*+\-.^_`|~0-9a-z]/)
// As Node's own check of a header value: no control character but the tab (which refuses CR, LF and NUL).
const IN_VALUE = charactersOf(/[\t\x20-\x7e\x80-\xff]/)

const PSEUDO_VALUES: Record<string, RegExp> = {
  ':method': /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/,
  ':path': /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/,
  ':authority': /^[\x21-\x7e]*$/,
  ':scheme': /^[A-Za-z][A-Za-z0-9+.-]*$/,
  // An interim status (1xx) cannot end an exchange.
  ':status': /^[2-9][0-9]{2}$/
}

/** Whether HTTP allows the name (in lower case) and the value; for a pseudo-header, whether the value has its form. */
export function isHeader(name: string, value: string): boolean {
  const slot = (name.length + (value.length << 3)) & (KNOWN - 1)
  if (knownNames[slot] === name && knownValues[slot] === value) return true
  if (!isAllowed(name, value)) return false
  if (name.length <= MAX_KNOWN && value.length <= MAX_KNOWN) {
    knownNames[slot] = name
    knownValues[slot] = value
  }
  return true
}

/** Filters write the same few headers again and again: those that were found good last, a power of two of them. */
const KNOWN = 64
const MAX_KNOWN = 64
const knownNames: (string | undefined)[] = new Array(KNOWN).fill(undefined)
const knownValues: (string | undefined)[] = new Array(KNOWN).fill(undefined)

function isAllowed(name: string, value: string): boolean {
  if (name.charCodeAt(0) === 58 /* : */) return PSEUDO_VALUES[name]?.test(value) ?? false
  return name !== '' && hasOnly(IN_NAME, name) && hasOnly(IN_VALUE, value)
}

function charactersOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (pattern.test(String.fromCharCode(code)) ? 1 : 0))
}

function hasOnly(characters: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (characters[text.charCodeAt(i)] !== 1) return false
  return true
}

/**
 * A header map that is a list. The gateway's maps extend it and carry each change on to Fastify; their lists are built
 * when something asks for more than a header can answer by itself.
 */
export class HeaderList implements HeaderMap {
  #list: string[] | undefined
  /** The names of the pseudo-headers that this map has. */
  readonly #pseudo: readonly string[]
  readonly readable: boolean = true
  writable: boolean

  /** @param list name, value, …; names in lower case, pseudo-headers first. `undefined`: `build` will tell */
  constructor(list: string[] | undefined, pseudo: readonly string[] = [], writable: boolean = true) {
    this.#list = list
    this.#pseudo = pseudo
    this.writable = writable
  }

  protected get list(): string[] {
    this.#list ??= this.build()
    return this.#list
  }

  protected set list(list: string[] | undefined) {
    this.#list = list
  }

  /** Whether the list is there, and so is what counts. */
  protected get isBuilt(): boolean {
    return this.#list !== undefined
  }

  /** Makes the list. */
  protected build(): string[] {
    return []
  }

  get size(): number {
    return this.list.length / 2
  }

  entries(): readonly string[] {
    return this.list
  }

  get(name: string): string | undefined {
    const list = this.list
    const key = this.#key(name)
    for (let i = 0; i < list.length; i += 2) if (list[i] === key) return list[i + 1]
    return undefined
  }

  /** All values of a header, in order. */
  getAll(name: string): string[] {
    const values: string[] = []
    const list = this.list
    const key = this.#key(name)
    for (let i = 0; i < list.length; i += 2) if (list[i] === key) values.push(list[i + 1]!)
    return values
  }

  add(name: string, value: string): boolean {
    const key = this.#key(name)
    if (key.charCodeAt(0) === 58) return this.replace(key, value)
    if (!this.writable || !isHeader(key, value)) return false
    this.list.push(key, value)
    this.changed(key)
    return true
  }

  replace(name: string, value: string): boolean {
    const key = this.#key(name)
    if (!this.writable || !isHeader(key, value)) return false
    const list = this.list
    const at = this.#indexOf(key)
    if (at === -1) {
      if (key.charCodeAt(0) === 58) {
        if (!this.#pseudo.includes(key)) return false
        list.unshift(key, value)
      } else {
        list.push(key, value)
      }
    } else {
      list[at + 1] = value
      this.#deleteFrom(at + 2, key)
    }
    this.changed(key)
    return true
  }

  remove(name: string): boolean {
    if (!this.writable) return false
    const key = this.#key(name)
    if (key.charCodeAt(0) === 58) return true
    if (this.#deleteFrom(0, key)) this.changed(key)
    return true
  }

  assign(pairs: readonly string[]): boolean {
    if (!this.writable) return false
    const fresh: string[] = []
    const pseudo = new Map<string, string>()
    for (const name of this.#pseudo) {
      const value = this.get(name)
      if (value !== undefined) pseudo.set(name, value)
    }
    for (let i = 0; i < pairs.length; i += 2) {
      const name = this.#key(pairs[i]!.toLowerCase())
      const value = pairs[i + 1]!
      if (!isHeader(name, value)) return false
      if (name.charCodeAt(0) !== 58) fresh.push(name, value)
      else if (this.#pseudo.includes(name)) pseudo.set(name, value)
      else return false
    }
    const names = new Set<string>()
    for (let i = 0; i < this.list.length; i += 2) names.add(this.list[i]!)
    const list: string[] = []
    for (const [name, value] of pseudo) list.push(name, value)
    for (const text of fresh) list.push(text)
    for (let i = 0; i < list.length; i += 2) names.add(list[i]!)
    this.list = list
    for (const name of names) this.changed(name)
    return true
  }

  /** Puts back what `entries` has answered before: a copy of that. */
  restore(saved: readonly string[]): void {
    const names = new Set<string>()
    for (let i = 0; i < saved.length; i += 2) names.add(saved[i]!)
    for (let i = 0; i < this.list.length; i += 2) names.add(this.list[i]!)
    const before = new Map([...names].map((name) => [name, this.getAll(name).join('\0')]))
    this.list = [...saved]
    for (const [name, values] of before) if (this.getAll(name).join('\0') !== values) this.changed(name)
  }

  /** Called after the values of a header have changed. */
  protected changed(_name: string): void {}

  /** `host` is another name for `:authority` wherever there is one, as in Envoy. */
  #key(name: string): string {
    return name === 'host' && this.#pseudo.includes(':authority') ? ':authority' : name
  }

  #indexOf(name: string): number {
    const list = this.list
    for (let i = 0; i < list.length; i += 2) if (list[i] === name) return i
    return -1
  }

  #deleteFrom(start: number, name: string): boolean {
    const list = this.list
    let kept = start
    for (let i = start; i < list.length; i += 2) {
      if (list[i] === name) continue
      list[kept] = list[i]!
      list[kept + 1] = list[i + 1]!
      kept += 2
    }
    const deleted = kept < list.length
    list.length = kept
    return deleted
  }
}
