/** `${{NAME}}` and `${{NAME:=default}}`. */
const REFERENCE = /\$\{\{\s*(\w+)\s*(?::=(.*?))?\}\}/g

/**
 * Puts variables of the environment in place of `${{NAME}}` and `${{NAME:=default}}`, as APISIX does.
 *
 * @param missing is told of every variable that is not set and has no default
 */
export function withEnvironment(text: string, missing: (name: string, offset: number) => void): string {
  return text.replace(REFERENCE, (reference: string, name: string, otherwise: string | undefined, offset: number) => {
    const value = process.env[name] ?? otherwise?.trim()
    if (value !== undefined) return value
    missing(name, offset)
    return reference
  })
}

/** The same in all texts of a value, keys of objects among them. */
export function withEnvironmentIn(value: unknown, missing: (name: string) => void): unknown {
  if (typeof value === 'string') return typed(withEnvironment(value, missing), value)
  if (Array.isArray(value)) return value.map((item) => withEnvironmentIn(item, missing))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [withEnvironment(key, missing), withEnvironmentIn(item, missing)])
  )
}

/** What a variable stands for alone is a number or a boolean where it is written as one, as in APISIX. */
function typed(text: string, reference: string): unknown {
  if (text === reference || reference.replace(REFERENCE, '') !== '') return text
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/.test(text) && text.length < 16 ? Number(text) : text
}
