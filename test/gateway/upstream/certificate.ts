import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const read = (name: string) => readFileSync(join(import.meta.dirname, 'certificate', name), 'utf8')

/** Signed by itself, for localhost and 127.0.0.1. */
export const certificate: { readonly key: string; readonly cert: string } = {
  key: read('key.pem'),
  cert: read('cert.pem')
}
