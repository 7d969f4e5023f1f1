import { fixture } from '../app.ts'

/** One step of the scripted filter (fixtures/README.md). */
export type Step = { op: string; [key: string]: unknown }
export type Script = { [phase: string]: Step[] }

/** Declares plugins that run the scripted filter. */
export function scripted(...names: (string | { name: string; [key: string]: unknown })[]) {
  return names.map((plugin, i) => ({
    file: fixture('script-go'),
    priority: 100 - i,
    ...(typeof plugin === 'string' ? { name: plugin } : plugin)
  }))
}

export const say = (text: string): Step => ({ op: 'log', text })
export const wantsRequestBody: Step = { op: 'set_property', path: ['wasm_process_req_body'], value: '1' }
export const wantsResponseBody: Step = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
