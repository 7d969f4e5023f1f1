/** What is not as it will be matched: escapes, slashes in a row, dots as segments, a whole URL. */
const UNUSUAL = /%|\/\/|\/\.{1,2}(?:\/|$)|^(?!\/)/

/**
 * The path of a request's target as nginx has it in `$uri`: without the query, percent-decoded (what is no escape stays), slashes
 * in a row as one, `.` and `..` resolved. Routes are matched by it, so that one path has one way to be written.
 */
export function normalizePath(target: string): string {
  const end = target.search(/[?#]/)
  const path = end === -1 ? target : target.slice(0, end)
  if (!UNUSUAL.test(path)) return path
  const decoded = decode(path.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, ''))
  const segments: string[] = []
  const all = decoded.split('/').slice(decoded.startsWith('/') ? 1 : 0)
  for (const [i, segment] of all.entries()) {
    const isLast = i === all.length - 1
    if (segment === '..') segments.pop()
    if (segment === '' || segment === '.' || segment === '..') {
      // What ended in a slash still does.
      if (isLast) segments.push('')
    } else {
      segments.push(segment)
    }
  }
  return `/${segments.join('/')}`
}

function decode(path: string): string {
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path)
  } catch {
    // Bytes that are no UTF-8, or no escapes. ASCII is decoded whatever stands beside it: no such byte may hide a slash or a dot.
    return path.replace(/%[0-7][0-9a-f]|(?:%[89a-f][0-9a-f])+/gi, (escapes) => {
      try {
        return decodeURIComponent(escapes)
      } catch {
        return escapes
      }
    })
  }
}
