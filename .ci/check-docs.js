// Checks the code of README.md and docs/, in the folder of an application that .ci/check-package.sh has made. Of each file,
// in order: a ```js block is a program that listens on port 3000, and is run, with the curl lines of its comments, or it has
// tests (it imports node:test), and they are run; a
// ```yaml block is a configuration file, and is loaded (js blocks after it find it as config.yaml); ```ts blocks compile.
// A ```yaml block that begins with the comment `# other.yaml` is a file that a command names. A ```sh block that begins with
// such a command (.ci/shell.js says which) is run. Links between the files lead somewhere.
// usage: node .ci/check-docs.js APP
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { checkCurl, curlLines, freePort, withServer } from './curl.js'
import { isRun, Shell } from './shell.js'

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
/** What stands in place of the ports that the documents name: those may be in use. */
const ports = new Map()
for (const port of [3000, 9080, 9180, 1980]) ports.set(String(port), String(await freePort()))
process.env.ADMIN_KEY = 'secret'

for (const document of documents) {
  const text = readFileSync(join(root, document), 'utf8')
  const counts = { js: 0, ts: 0, yaml: 0, sh: 0 }
  const shell = new Shell(app, (port) => ports.get(port))
  // What the Admin API has kept.
  rmSync(join(app, 'state.json'), { force: true })
  const unnamed = new Set()
  for (const [, indent, language, code] of text.matchAll(/^( *)```(\w+)\n(.*?)^ *```$/gms)) {
    assert.equal(indent, '', `${document}: a block is indented`)
    if (language === 'sh' ? isRun(code) : language in counts) counts[language]++
    const here = code.replace(/\b(?:3000|9080|9180|1980)\b/g, (port) => ports.get(port))
    try {
      if (language === 'js') await runProgram(here)
      else if (language === 'yaml') unnamed.add(writeConfig(here))
      else if (language === 'ts') compile(code)
      else if (language === 'sh' && isRun(code)) await shell.run(here)
    } catch (error) {
      await shell.close().catch(() => {})
      error.message = `${document}, in the ${language} block\n${code}\n${error.stdout || error.message}`
      throw error
    }
    if (language === 'sh') for (const name of unnamed) if (code.includes(name)) unnamed.delete(name)
  }
  await shell.close()
  unnamed.delete('config.yaml')
  assert.equal(unnamed.size, 0, `${document}: no command reads ${[...unnamed]}`)
  for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)/g)) {
    const path = target === '' ? document : join(dirname(document), target)
    assert(existsSync(join(root, path)), `${document}: the link ${target} leads nowhere`)
  }
  process.stdout.write(
    `${document}: ${counts.js} programs, ${counts.yaml} configurations, ${counts.ts} pieces of types, ` +
      `${counts.sh} pieces of shell\n`
  )
}

async function runProgram(code) {
  if (code.includes("from 'node:test'")) {
    writeFileSync(join(app, 'program.test.mjs'), code)
    execFileSync(process.execPath, ['--test', 'program.test.mjs'], { cwd: app, stdio: 'pipe', encoding: 'utf8' })
    return
  }
  writeFileSync(join(app, 'program.mjs'), code)
  await withServer(['program.mjs'], { port: ports.get('3000'), cwd: app }, async (log) => {
    const lines = curlLines(code)
    assert(lines.length > 0, 'no curl line')
    for (const line of lines) await checkCurl(line, log)
  })
}

/** Writes a configuration file and, where it is complete by itself, loads it. */
function writeConfig(code) {
  const name = /^# (\S+\.yaml)\n/.exec(code)?.[1] ?? 'config.yaml'
  // Where the Admin API listens by default, something else may.
  const listen = `admin:\n  listen: { port: ${ports.get('9180')} }`
  writeFileSync(join(app, name), /^ {2}listen:/m.test(code) ? code : code.replace(/^admin:$/m, listen))
  if (name === 'config.yaml') {
    execFileSync(process.execPath, ['--input-type=module', '-e', LOADS_CONFIG], { cwd: app, stdio: 'pipe' })
  }
  return name
}

function compile(code) {
  writeFileSync(join(app, 'types.ts'), code)
  execFileSync('npx', ['tsc', '-p', '.'], { cwd: app, stdio: 'pipe', encoding: 'utf8' })
}
