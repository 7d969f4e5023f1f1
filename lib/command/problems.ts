import { printable } from './printable.ts'

/**
 * What is wrong, and at which place: a line for each.
 *
 * @param file what the error is about
 */
export function problemsOf(error: Error, file?: string): string[] {
  const message = error.message.replace(/^The configuration is invalid: /, '')
  const prefix = `${file}: `
  const isPrefixed = file !== undefined && message.startsWith(prefix)
  const text = isPrefixed ? message.slice(prefix.length) : message
  // Errors that name several places have them in one line, each with its path: `routes[0].uri: …; upstreams[1]: …`.
  return text.split(/; (?=[^\s;]*[.[:])/).map((problem) => printable(isPrefixed ? prefix + problem : problem))
}

/** What kept a gateway from starting. */
export function startProblemsOf(error: NodeJS.ErrnoException & { address?: string; port?: number }): string[] {
  const at = `${error.address}:${error.port}`
  if (error.code === 'EADDRINUSE') return [`${at} is in use: something listens there already (EADDRINUSE)`]
  if (error.code === 'EACCES' && error.port !== undefined) return [`${at}: this user may not listen there (EACCES)`]
  // An error without a code is a mistake of the program, and where it happened is all that helps.
  return error.code === undefined ? [error.stack ?? String(error)] : problemsOf(error)
}
