import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:http2'
import { test } from 'node:test'
import { readAll, scripted, startNode, startProxy } from './nodes.ts'

test('a filter that fails in the middle of a response body resets the stream of an HTTP/2 client', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write('one', () => response.end('two')))
  const ask = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
  const fail = { op: 'if_eos', steps: [{ op: 'panic', text: 'on purpose' }] }
  const filter = scripted({ response_headers: [ask], response_body: [fail] })
  const { url } = await startProxy(t, node.address, { ...filter, server: { http2: true } as object })
  const session = connect(url)
  t.after(() => session.destroy())
  const stream = session.request({})
  await once(stream, 'response')
  // Otherwise half a body looks like a whole one.
  await assert.rejects(readAll(stream))
})
