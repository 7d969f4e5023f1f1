import { compileAddresses } from '../config/addresses.ts'
import { type ConfigFileContent, firstOf, readConfigFile, remainsOf } from '../config/file.ts'
import { loadResources } from '../config/resources.ts'
import type { Listen } from '../config/schema.ts'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { servicesOf } from '../gateway/services.ts'
import { problemsOf } from './problems.ts'

/** Configuration files as they were read. */
export interface ConfigFiles {
  readonly contents: readonly ConfigFileContent[]
  /** What is wrong with the others, and with all of them together, each with its place */
  readonly problems: readonly string[]
}

/** Reads configuration files, all that can be. */
export async function readConfigFiles(paths: readonly string[]): Promise<ConfigFiles> {
  const contents: ConfigFileContent[] = []
  const problems: string[] = []
  /** Those that are wrong without what is. */
  const together: ConfigFileContent[] = []
  for (const path of paths) {
    try {
      const content = await readConfigFile(path)
      contents.push(content)
      together.push(content)
    } catch (error) {
      problems.push(...problemsOf(error as Error, path))
      const rest = remainsOf(error as Error)
      if (rest !== undefined) together.push(rest)
    }
  }
  // What one that is not there would hold may be what the others lack.
  if (together.length === paths.length) problems.push(...wrongTogether(together))
  return { contents, problems }
}

/** What is wrong with files that are right by themselves. */
function wrongTogether(contents: readonly ConfigFileContent[]): string[] {
  const admin = firstOf(contents, 'admin')
  const checks = [
    () => loadResources({}, contents),
    () => servicesOf({}, contents),
    () => compileAddresses(admin?.allow_admin ?? [], 'admin.allow_admin'),
    () => compileAddresses(firstOf(contents, 'metrics')?.allow ?? [], 'metrics.allow'),
    () => compileAddresses(firstOf(contents, 'inspector')?.allow_admin ?? [], 'inspector.allow_admin'),
    () => checkListeners(firstOf(contents, 'listen'), admin?.listen)
  ]
  return checks.flatMap((check) => {
    try {
      check()
      return []
    } catch (error) {
      return problemsOf(error as Error)
    }
  })
}

/** Where the gateway and the Admin API listen unless they are told. */
const DEFAULT_HOST = '127.0.0.1'

/** Two listeners cannot have one port of the same host. */
function checkListeners(gateway: Listen | undefined, admin: Listen | undefined): void {
  if (gateway?.port === undefined || gateway.port === 0 || gateway.port !== admin?.port) return
  const host = gateway.host ?? DEFAULT_HOST
  if (host !== (admin.host ?? DEFAULT_HOST)) return
  throw new FST_WASM_OPTIONS_INVALID(`admin.listen: ${host}:${admin.port} is where the gateway listens`)
}
