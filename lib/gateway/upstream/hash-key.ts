import type { Upstream as UpstreamConfig } from '../../config/schema.ts'

/**
 * The text that consistent hashing chooses a node by: a variable, a header, a cookie, or several variables in a text
 * (`$request_uri$remote_addr`). The client's address where that is empty, as in APISIX.
 *
 * @param variable answers nginx's variables
 */
export function hashKey(
  { hash_on, key = '' }: Pick<UpstreamConfig, 'hash_on' | 'key'>,
  variable: (name: string) => string | undefined
): string | undefined {
  return textOf(hash_on, key, variable) || variable('remote_addr')
}

function textOf(
  hashOn: UpstreamConfig['hash_on'],
  key: string,
  variable: (name: string) => string | undefined
): string | undefined {
  switch (hashOn) {
    case 'header':
      return variable(`http_${key}`)
    case 'cookie':
      return variable(`cookie_${key}`)
    case 'vars_combinations': {
      let found = false
      const text = key.replace(/\$\{(\w+)\}|\$(\w+)/g, (_reference, braced?: string, bare?: string) => {
        const value = variable((braced ?? bare)!)
        found ||= value !== undefined
        return value ?? ''
      })
      return found ? text : undefined
    }
    default:
      return variable(key)
  }
}
