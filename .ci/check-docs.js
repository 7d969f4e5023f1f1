// Checks the code of README.md and docs/, in the folder of an application that .ci/check-package.sh has made. Of each file,
// in order: a ```js block is a program that listens on port 3000, and is run, with the curl lines of its comments; a
// ```yaml block is a configuration file, and is loaded (js blocks after it find it as config.yaml); ```ts blocks compile.
// Links between the files lead somewhere.
// usage: node .ci/check-docs.js APP
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { checkCurl, curlLines, freePort, withServer } from './curl.js'

const root = join(import.meta.dirname, '..')
const app = resolve(process.argv[2])
const LOADS_CONFIG = `
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
const app = Fastify()
await app.register(wasmGateway, { config: 'config.yaml' })
await app.close()
`
const documents = ['README.md', 'SECURITY.md', ...readdirSync(join(root, 'docs')).map((name) => join('docs', name))]

for (const document of documents) {
  const text = readFileSync(join(root, document), 'utf8')
  const counts = { js: 0, ts: 0, yaml: 0 }
  for (const [, indent, language, code] of text.matchAll(/^( *)```(\w+)\n(.*?)^ *```$/gms)) {
    assert.equal(indent, '', `${document}: a block is indented`)
    if (language in counts) counts[language]++
    try {
      if (language === 'js') await runProgram(code)
      else if (language === 'yaml') loadConfig(code)
      else if (language === 'ts') compile(code)
    } catch (error) {
      error.message = `${document}, in the ${language} block\n${code}\n${error.stdout || error.message}`
      throw error
    }
  }
  for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)/g)) {
    const path = target === '' ? document : join(dirname(document), target)
    assert(existsSync(join(root, path)), `${document}: the link ${target} leads nowhere`)
  }
  process.stdout.write(
    `${document}: ${counts.js} programs, ${counts.yaml} configurations, ${counts.ts} pieces of types\n`
  )
}

async function runProgram(code) {
  const port = await freePort()
  const here = code.replaceAll(/\b3000\b/g, String(port))
  writeFileSync(join(app, 'program.mjs'), here)
  await withServer(['program.mjs'], { port, cwd: app }, async (log) => {
    const lines = curlLines(here)
    assert(lines.length > 0, 'no curl line')
    for (const line of lines) await checkCurl(line, log)
  })
}

function loadConfig(code) {
  writeFileSync(join(app, 'config.yaml'), code)
  execFileSync(process.execPath, ['--input-type=module', '-e', LOADS_CONFIG], { cwd: app, stdio: 'pipe' })
}

function compile(code) {
  writeFileSync(join(app, 'types.ts'), code)
  execFileSync('npx', ['tsc', '-p', '.'], { cwd: app, stdio: 'pipe', encoding: 'utf8' })
}
