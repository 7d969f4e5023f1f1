import assert from 'node:assert/strict'
import { mkdir, open as openFile, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { FileResourceStore } from '../../lib/stores/file-resource-store.ts'
import { MemoryResourceStore } from '../../lib/stores/memory-resource-store.ts'
import type { ResourceStore } from '../../lib/stores/resource-store.ts'
import { folder } from '../folder.ts'

const failed = { code: 'FST_WASM_STORE_FAILED', statusCode: 503 }

const stores: [name: string, make: (t: TestContext) => Promise<ResourceStore>][] = [
  ['memory', async () => new MemoryResourceStore()],
  ['file', async (t) => new FileResourceStore(join(await folder(t), 'deep', 'er', 'store.json'))]
]

for (const [name, make] of stores) {
  test(`${name}: objects are kept by kind and id, with indexes of one count over all of them`, async (t) => {
    const store = await make(t)
    assert.deepEqual(await store.load(), [])
    const route = await store.write('routes', '1', { uri: '/a' }, 0)
    assert.deepEqual(route, { kind: 'routes', id: '1', value: { uri: '/a' }, createdIndex: 1, modifiedIndex: 1 })
    const service = await store.write('services', '1', {}, 0)
    assert.deepEqual([service.createdIndex, service.modifiedIndex], [2, 2])
    const changed = await store.write('routes', '1', { uri: '/b' }, 1)
    assert.deepEqual([changed.createdIndex, changed.modifiedIndex, changed.value], [1, 3, { uri: '/b' }])
    assert.deepEqual(await store.write('services', '1', undefined, 2), service)
    assert.deepEqual(await store.load(), [changed])
    const again = await store.write('services', '1', {}, 0)
    assert.deepEqual([again.createdIndex, again.modifiedIndex], [5, 5])
  })

  test(`${name}: a write that expects another object than there is changes nothing`, async (t) => {
    const store = await make(t)
    await store.load()
    const object = await store.write('routes', '1', { uri: '/a' }, 0)
    for (const [id, value, expected] of [
      ['1', {}, 0],
      ['1', {}, 2],
      ['1', undefined, 0],
      ['2', {}, 1],
      ['2', undefined, 1]
    ] as const) {
      await assert.rejects(store.write('routes', id, value, expected), failed)
    }
    assert.deepEqual(await store.load(), [object])
    assert.equal((await store.write('routes', '2', {}, 0)).modifiedIndex, 2)
  })

  test(`${name}: of writers that expect the same object one wins`, async (t) => {
    const store = await make(t)
    await store.load()
    const results = await Promise.allSettled([1, 2, 3, 4].map((n) => store.write('routes', '1', { n }, 0)))
    const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    assert.equal(won.length, 1)
    assert.deepEqual(await store.load(), won)
  })

  test(`${name}: nothing is written when it is closed`, async (t) => {
    const store = await make(t)
    await store.load()
    const pending = store.write('routes', '1', {}, 0).catch(() => {})
    await pending
    await store.close()
    await assert.rejects(store.write('routes', '2', {}, 0), failed)
  })
}

async function fileStore(t: TestContext) {
  const path = await folder(t)
  const file = join(path, 'store.json')
  const open = async () => {
    const store = new FileResourceStore(file)
    return { store, objects: await store.load() }
  }
  return { path, file, open }
}

test('file: nobody else may read the file, and it is the only one in its folder', async (t) => {
  const { path, file, open } = await fileStore(t)
  const { store } = await open()
  await Promise.all(Array.from({ length: 20 }, (_, i) => store.write('routes', String(i), {}, 0)))
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.deepEqual(await readdir(path), ['store.json'])
  assert.equal((await open()).objects.length, 20)
})

test('file: whoever has it open when it is written goes on seeing the whole of what was there', async (t) => {
  const { file, open } = await fileStore(t)
  const { store } = await open()
  await store.write('routes', '1', { uri: '/a' }, 0)
  const text = await readFile(file, 'utf8')
  const handle = await openFile(file)
  await store.write('routes', '1', { uri: '/b' }, 1)
  assert.equal(await handle.readFile('utf8'), text)
  await handle.close()
  assert.notEqual(await readFile(file, 'utf8'), text)
})

test('file: closing waits for what is under way', async (t) => {
  const { open } = await fileStore(t)
  const { store } = await open()
  const pending = store.write('routes', '1', { uri: '/a' }, 0)
  await Promise.resolve()
  await store.close()
  const kept = await pending
  assert.deepEqual((await open()).objects, [kept])
})

test('file: what a process that died had begun is removed, and nothing else', async (t) => {
  const { path, open } = await fileStore(t)
  const { store } = await open()
  const object = await store.write('routes', '1', {}, 0)
  const others = ['store.json.bak', 'store.json.tmp', 'store.json.0123456789ab.tmp.x', 'other.0123456789ab.tmp']
  for (const name of ['store.json.0123456789ab.tmp', 'store.json.ba9876543210.tmp', ...others]) {
    await writeFile(join(path, name), '{"revision": 7, "resou')
  }
  assert.deepEqual((await open()).objects, [object])
  assert.deepEqual((await readdir(path)).sort(), [...others, 'store.json'].sort())
})

test('file: a write that fails leaves nothing behind, and the next one goes on', async (t) => {
  const { path, file, open } = await fileStore(t)
  const { store } = await open()
  const first = await store.write('routes', '1', {}, 0)
  // A folder where the file was: nothing can be put in its place.
  await rm(file)
  await mkdir(join(file, 'in'), { recursive: true })
  const results = await Promise.allSettled(['2', '3'].map((id) => store.write('routes', id, {}, 0)))
  assert.ok(results.every(({ status }) => status === 'rejected'))
  await assert.rejects(store.write('routes', '1', undefined, 1), failed)
  assert.deepEqual(await readdir(path), ['store.json'])
  await rm(file, { recursive: true })
  const second = await store.write('routes', '2', {}, 0)
  assert.equal(second.modifiedIndex, 2)
  assert.deepEqual((await open()).objects, [first, second])
})

test('file: one that somebody else has put in place is not overwritten', async (t) => {
  const { file, open } = await fileStore(t)
  const { store } = await open()
  await store.write('routes', '1', {}, 0)
  const { store: other } = await open()
  const theirs = await other.write('routes', '2', {}, 0)
  const text = await readFile(file, 'utf8')
  for (let i = 0; i < 2; i++) {
    await assert.rejects(store.write('routes', '3', {}, 0), { ...failed, message: /replaced by somebody else/ })
  }
  assert.equal(await readFile(file, 'utf8'), text)
  assert.deepEqual((await open()).objects.at(-1), theirs)
})

test('file: one that appears where there was none is not overwritten', async (t) => {
  const { file, open } = await fileStore(t)
  const { store } = await open()
  await writeFile(file, 'something')
  await assert.rejects(store.write('routes', '1', {}, 0), failed)
  assert.equal(await readFile(file, 'utf8'), 'something')
})
