import { type ConfigFileContent, readConfigFile, remainsOf } from '../config/file.ts'
import { problemsOf } from './problems.ts'

/** Configuration files as they were read. */
export interface ConfigFiles {
  readonly contents: readonly ConfigFileContent[]
  /** What is wrong with the others, each with its file and place */
  readonly problems: readonly string[]
  /** What can be looked at together: all files, those that are wrong without what is; `undefined` when one is not there */
  readonly together: readonly ConfigFileContent[] | undefined
}

/** Reads configuration files, all that can be. */
export async function readConfigFiles(paths: readonly string[]): Promise<ConfigFiles> {
  const contents: ConfigFileContent[] = []
  const problems: string[] = []
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
  return { contents, problems, together: together.length === paths.length ? together : undefined }
}
