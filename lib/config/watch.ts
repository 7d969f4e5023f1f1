import { stat } from 'node:fs/promises'

/** Milliseconds between two looks. */
const INTERVAL = 250

export interface FileWatch {
  close(): void
}

/**
 * Tells when files have changed. They are looked at again and again: that sees files which editors and Kubernetes replace, on
 * every file system. One that is being written is waited for: a change is told when two looks have seen the same. That a
 * file is gone is a change too.
 * Nothing keeps the process alive.
 */
export function watchFiles(paths: readonly string[], onChange: () => void): FileWatch {
  let told: string | undefined
  let last: string | undefined
  let closed = false
  let timer: NodeJS.Timeout
  const look = async () => {
    const seen = await stateOf(paths)
    if (closed) return
    if (told === undefined) {
      told = seen
    } else if (seen !== told && seen === last) {
      told = seen
      onChange()
    }
    last = seen
    timer = setTimeout(look, INTERVAL)
    timer.unref()
  }
  look()
  return {
    close() {
      closed = true
      clearTimeout(timer)
    }
  }
}

/** What tells two states of files apart. */
async function stateOf(paths: readonly string[]): Promise<string> {
  const states = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        ({ ino, size, mtimeMs, ctimeMs }) => `${ino} ${size} ${mtimeMs} ${ctimeMs}`,
        () => 'gone'
      )
    )
  )
  return states.join('|')
}
