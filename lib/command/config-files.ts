import { type ConfigFileContent, readConfigFile } from '../config/file.ts'
import { problemsOf } from './problems.ts'

/** Configuration files as they were read. */
export interface ConfigFiles {
  readonly contents: readonly ConfigFileContent[]
  /** What is wrong with the others, each with its file and place */
  readonly problems: readonly string[]
}

/** Reads configuration files, all that can be. */
export async function readConfigFiles(paths: readonly string[]): Promise<ConfigFiles> {
  const contents: ConfigFileContent[] = []
  const problems: string[] = []
  for (const path of paths) {
    try {
      contents.push(await readConfigFile(path))
    } catch (error) {
      problems.push(...problemsOf(error as Error, path))
    }
  }
  return { contents, problems }
}
