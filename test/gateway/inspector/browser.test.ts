import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import type { Page } from 'playwright-core'
import { startApp } from '../../app.ts'
import { browser, skipWithoutChromium } from '../../chromium.ts'
import { request } from '../../http.ts'
import { scripted } from '../script.ts'

const options = { skip: skipWithoutChromium }
const conf = {
  request_headers: [
    { op: 'set', map: 'request', name: 'x-a-header-with-a-long-name', value: `<b>${'long'.repeat(60)}</b>` },
    { op: 'log', text: `<script>document.title = 'broken'</script> ${'word'.repeat(100)}` }
  ]
}

async function open(t: TestContext, context: object = {}) {
  const plugins = scripted('a', 'a-plugin-with-quite-a-long-name')
  const inspector = { path: '/_wasm', key: 'the key' }
  const started = await startApp(t, { plugins, inspector }, (app) => {
    app.get(
      '/*',
      { config: { wasm: { plugins: { a: { conf }, 'a-plugin-with-quite-a-long-name': { conf } } } } },
      async () => 'hello'
    )
  })
  const page = await (await browser(t)).newPage(context)
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => {
    // Of the answer to a key that is missing.
    if (message.type() === 'error' && !message.text().includes('401')) problems.push(message.text())
  })
  await page.goto(`${started.url}/_wasm`)
  await page.getByLabel('Key').fill('the key')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('live', { exact: true }).waitFor()
  return { ...started, page, problems }
}

const first = (page: Page) => page.locator('#requests > li').first()

test('a request appears by itself, and what is open stays open when it changes', options, async (t) => {
  const { page, url, problems } = await open(t)
  assert.ok(await page.getByText('No request has met a filter').isVisible())
  await request(`${url}/one`)
  await first(page).getByText('/one').waitFor()
  assert.equal(await page.getByText('No request has met a filter').isVisible(), false)
  await first(page).locator('summary').click()
  await first(page).getByText('on_request_headers').first().waitFor()
  await request(`${url}/two`)
  await page.locator('#requests > li').nth(1).waitFor()
  assert.ok(await page.locator('#requests > li').nth(1).locator('.events').isVisible())
  assert.equal(await page.title(), 'Wasm filters', 'what filters log is text')
  assert.deepEqual(problems, [])
})

test('the page stands still while it is paused, and catches up afterwards', options, async (t) => {
  const { page, url } = await open(t)
  await page.getByRole('button', { name: 'Pause' }).click()
  await request(`${url}/one`)
  await page.getByText('paused; there are new requests').waitFor()
  assert.equal(await page.locator('#requests > li').count(), 0)
  await page.getByRole('button', { name: 'Pause' }).click()
  await first(page).getByText('/one').waitFor()
})

test('requests can be filtered, and everything is reached by the keyboard', options, async (t) => {
  const { page, url } = await open(t)
  for (const path of ['/apples', '/pears']) await request(url + path)
  await page.locator('#requests > li').nth(1).waitFor()
  await page.getByLabel('Show those with').fill('apples')
  assert.equal(await page.locator('#requests > li:visible').count(), 1)
  await page.getByLabel('Show those with').press('Tab')
  await page.keyboard.press('Enter')
  assert.ok(await page.locator('#requests > li:visible .events').isVisible())
  await page.getByRole('button', { name: 'Sign out' }).focus()
  await page.keyboard.press('Enter')
  await page.getByLabel('Key').waitFor()
})

for (const [name, width] of [
  ['a phone', 360],
  ['a desktop', 1280]
] as const) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`on ${name}, ${colorScheme}, nothing is wider than the screen, and text stands out`, options, async (t) => {
      const { page, url } = await open(t, { viewport: { width, height: 800 }, colorScheme })
      await request(`${url}/${'a-long-path'.repeat(20)}`)
      await first(page).locator('summary').click()
      assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
      const poor = await page.evaluate(`(${poorContrast})()`)
      assert.deepEqual(poor, [])
    })
  }
}

test('every field, button and section has a name', options, async (t) => {
  const { page, url } = await open(t)
  await request(`${url}/one`)
  await first(page).locator('summary').click()
  const nameless = await page.evaluate(`[...document.querySelectorAll('input, button, section, svg[role=img]')]
    .filter((element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim() && element.tagName === 'BUTTON'
      || document.getElementById(element.getAttribute('aria-labelledby'))))
    .map((element) => element.outerHTML)`)
  assert.deepEqual(nameless, [])
  const ids = await page.evaluate(`[...document.querySelectorAll('[id]')].map(({ id }) => id)`)
  assert.equal(new Set(ids as string[]).size, (ids as string[]).length, 'ids are unique')
})

/** Runs in the page: text whose contrast to what is behind it is below 4.5, as WCAG 2.2 (1.4.3) has it. */
const poorContrast = `() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const luminance = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0)
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor)
      if (color[3] === 255) return color
    }
    return [255, 255, 255, 255]
  }
  const poor = []
  for (const element of document.querySelectorAll('body *')) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '')
    if (!hasText || element.checkVisibility?.() === false || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue
    const [one, other] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))]
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
    if (contrast < 4.5) poor.push(element.className + ' ' + element.textContent.slice(0, 30) + ' ' + contrast.toFixed(2))
  }
  return poor
}`

test('the script of the page is one that browsers take also in the package that is built', options, async (t) => {
  const built: typeof import('../../../lib/index.ts') = await import('../../../dist/index.js' as string)
  const app = Fastify()
  t.after(() => app.close())
  await app.register(built.default, { plugins: scripted('a'), inspector: { path: '/_wasm', key: 'the key' } })
  app.get('/one', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await (await browser(t)).newPage()
  await page.goto(`${url}/_wasm?api_key=${encodeURIComponent('the key')}`)
  await page.getByText('live', { exact: true }).waitFor()
  await request(`${url}/one`)
  await first(page).getByText('/one').first().waitFor()
  await page.close()
})
