import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { loadFilter } from 'fastify-wasm-gateway/testing'

const file = new URL('redact.wasm', import.meta.url)

/** The SDK finds the filter by the name that it is registered under. */
async function load(semantics = 'apisix') {
  const filter = await loadFilter(file, { conf: '*', root_id: 'redact', semantics })
  after(() => filter.close())
  return filter
}

const text = (body, type = 'text/plain') => ({ response: { headers: { 'content-type': type }, body } })

for (const semantics of ['apisix', 'envoy']) {
  test(`card numbers are masked, whichever host calls: ${semantics}`, async () => {
    const filter = await load(semantics)
    const { response } = await filter.exchange(text('{"card":"4111111111111111","id":12345}', 'application/json'))
    assert.equal(response.body, '{"card":"************1111","id":12345}')
    assert.equal(filter.metrics.card_numbers_masked, 1)
  })

  test(`a number that lies in two chunks is one: ${semantics}`, async () => {
    const filter = await load(semantics)
    const { response } = await filter.exchange(text(['pay 41111111', '11111111 now', ', or 42']))
    assert.equal(response.body, 'pay ************1111 now, or 42')
    // What comes is passed on as it comes, but for the digits.
    assert.deepEqual(response.chunks.map(String), ['pay ', '************1111 now', ', or ', '42'])
  })
}

test('what is too short or too long is no card number', async () => {
  const filter = await load()
  for (const digits of ['123456789012', '12345678901234567890', '1'.repeat(100)]) {
    assert.equal((await filter.exchange(text(digits))).response.body, digits)
    assert.equal((await filter.exchange(text([...digits]))).response.body, digits)
  }
})

test('bodies that are no text pass as they are, and the filter is not called with them', async () => {
  const filter = await load()
  const { response, actions } = await filter.exchange(text('4111111111111111', 'image/png'))
  assert.equal(response.body, '4111111111111111')
  assert.ok(actions.every(({ callback }) => callback !== 'proxy_on_response_body'))
})

test('the mask is one character', async () => {
  await assert.rejects(loadFilter(file, { conf: 'xx', root_id: 'redact' }), { code: 'FST_WASM_CONFIGURE_FAILED' })
})
