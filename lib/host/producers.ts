import { customNameOf, type Section, SectionId } from './metering/module-reader.ts'

/** What the tools that made a module say of themselves: `language`, `processed-by` and `sdk`, each name with its version. */
export type Producers = ReadonlyMap<string, ReadonlyMap<string, string>>

/**
 * Reads the custom section `producers`, its name first (tool-conventions/ProducersSection.md of WebAssembly). Nobody checks a
 * custom section: of one that is not well-formed, what can be read has to do.
 */
export function readProducers(section: Uint8Array): Producers {
  const producers = new Map<string, Map<string, string>>()
  const reader = new Reader(section)
  try {
    reader.name()
    for (let fields = reader.number(); fields > 0; fields--) {
      const values = new Map<string, string>()
      producers.set(reader.name(), values)
      for (let count = reader.number(); count > 0; count--) values.set(reader.name(), reader.name())
    }
  } catch {}
  return producers
}

/** What the section `producers` of a module says, nothing where there is none. */
export function producersOf(bytes: Uint8Array, sections: readonly Section[]): Producers {
  const section = sections.find(
    (section) => section.id === SectionId.custom && customNameOf(bytes, section) === 'producers'
  )
  return section === undefined ? new Map() : readProducers(bytes.subarray(section.start, section.end))
}

/** Reads on and on, and throws at the end. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** An unsigned number in LEB128. */
  number(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.#at++)
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }

  name(): string {
    const size = this.number()
    const start = this.#at
    this.#at += size
    return this.#bytes.toString('utf8', start, this.#at)
  }
}
