import { existsSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { type Browser, chromium } from 'playwright-core'

/** Debian's, by whichever name. */
const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path))

/** Why tests that need a browser are skipped; `false` when they are not. */
export const skipWithoutChromium: string | false =
  executable === undefined && 'there is no chromium (apt-get install chromium)'

/** A browser, closed when the test ends. */
export async function browser(t: TestContext): Promise<Browser> {
  const opened = await chromium.launch({ executablePath: executable!, args: ['--no-sandbox'] })
  t.after(() => opened.close())
  return opened
}
