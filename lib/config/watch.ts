import { stat } from 'node:fs/promises'

/** Milliseconds between two looks. */
const INTERVAL = 250

/** So many looks a file that changes all the time is waited for, and others with it. */
const PATIENCE = 8

export interface FileWatch {
  /** Looks at once, so that what happens to files from now on is a change. */
  look(): Promise<void>
  close(): void
}

/**
 * Tells when files have changed. They are looked at again and again: that sees files which editors and Kubernetes replace, on
 * every file system. One that is being written is waited for: a change is told when two looks have seen the same. That a
 * file is gone is a change too. Nothing keeps the process alive.
 *
 * @param paths answers which files: they may be others at every look
 */
export function watchFiles(paths: () => Iterable<string>, onChange: () => void): FileWatch {
  /** By path: what was told of, and what was seen last. */
  let told = new Map<string, string>()
  let last = new Map<string, string>()
  /** How many looks in a row have seen another state each. */
  let restless = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> = Promise.resolve()
  const look = () => {
    clearTimeout(timer)
    looking = looking.then(compare)
    return looking
  }
  const compare = async () => {
    const seen = await statesOf(paths())
    if (closed) return
    clearTimeout(timer)
    // A path that is new is no change.
    for (const [path, state] of seen) if (!told.has(path)) told.set(path, state)
    const changed = [...seen].filter(([path, state]) => told.get(path) !== state)
    const settled = changed.every(([path, state]) => last.get(path) === state)
    last = seen
    restless = settled ? 0 : restless + 1
    if (changed.length > 0 && (settled || restless >= PATIENCE)) {
      restless = 0
      told = seen
      onChange()
    }
    timer = setTimeout(look, INTERVAL)
    timer.unref()
  }
  look()
  return {
    look,
    close() {
      closed = true
      clearTimeout(timer)
    }
  }
}

/** What tells two states of a file apart, by path. */
async function statesOf(paths: Iterable<string>): Promise<Map<string, string>> {
  const states = await Promise.all(
    [...new Set(paths)].map(async (path): Promise<[string, string]> => {
      const state = await stat(path).then(
        ({ ino, size, mtimeMs, ctimeMs }) => `${ino} ${size} ${mtimeMs} ${ctimeMs}`,
        () => 'gone'
      )
      return [path, state]
    })
  )
  return new Map(states)
}
