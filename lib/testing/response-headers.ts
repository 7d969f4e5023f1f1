import { HeaderList } from '../host/index.ts'

/**
 * The headers of a response. They may be written from the first request callback on, and go onto whatever response
 * follows; they can be read once there is one.
 */
export class ResponseHeaders extends HeaderList {
  override readable: boolean = false

  constructor() {
    super([], [':status'])
  }

  /**
   * The response is there.
   *
   * @param pairs its headers, names in lower case
   * @param fresh it stands in place of another one, of whose headers none may be left
   */
  begin(status: number, pairs: readonly string[], fresh: boolean): void {
    const kept: string[] = []
    const written = fresh ? [] : this.list
    for (let i = 0; i < written.length; i += 2) {
      const name = written[i]!
      const isOwn = !name.startsWith(':') && (name === 'set-cookie' || !has(pairs, name))
      if (isOwn) kept.push(name, written[i + 1]!)
    }
    this.readable = true
    this.list = [':status', String(status), ...kept, ...pairs]
  }

  /** The length of the body is the host's to say, and no filter's. */
  setLength(length: number | undefined): void {
    this.#drop('content-length')
    if (length !== undefined) this.list.push('content-length', String(length))
  }

  /** There is no body that could be described: as Fastify, for 204 and 304. */
  dropDescription(): void {
    this.#drop('content-length')
    this.#drop('content-type')
  }

  #drop(name: string): void {
    this.list = this.list.filter((_, i, all) => all[i - (i % 2)] !== name)
  }
}

function has(pairs: readonly string[], name: string): boolean {
  return pairs.some((text, i) => i % 2 === 0 && text === name)
}
