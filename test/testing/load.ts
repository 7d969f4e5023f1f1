import type { TestContext } from 'node:test'
import { type FilterOptions, type LoadedFilter, loadFilter } from '../../lib/testing/index.ts'
import { fixture } from '../app.ts'
import type { Script } from '../gateway/script.ts'
import type { Guest } from '../host/guest.ts'

/** Loads a filter that does what its configuration says (fixtures/README.md), in Rust unless another one is named. */
export async function scripted(
  t: TestContext,
  conf: Script,
  options: FilterOptions = {},
  name: 'script-rust' | 'script-go' | 'script-as' = 'script-rust'
): Promise<LoadedFilter> {
  const filter = await loadFilter(fixture(name), { name: 'scripted', conf, ...options })
  t.after(() => filter.close())
  return filter
}

export async function guest(t: TestContext, module: Guest, options: FilterOptions = {}): Promise<LoadedFilter> {
  const filter = await loadFilter(await module.module(), { conf: 'x', ...options })
  t.after(() => filter.close())
  return filter
}
