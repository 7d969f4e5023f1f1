import wabt from 'wabt'

let loaded: ReturnType<typeof wabt> | undefined

/**
 * Compiles a module from its text form.
 *
 * @param write_debug_names whether it is to have the names of its functions
 */
export async function wat(text: string, write_debug_names: boolean = false): Promise<Uint8Array> {
  loaded ??= wabt()
  const module = (await loaded).parseWat('test.wat', text, {
    tail_call: true,
    exceptions: true,
    gc: true,
    threads: true,
    memory64: true,
    // Its types do not know of it.
    ...{ multi_memory: true }
  })
  try {
    return module.toBinary({ write_debug_names }).buffer
  } finally {
    module.destroy()
  }
}

/**
 * A module with what every Proxy-Wasm module needs: the marker of ABI 0.2.1, a page of memory and an allocator that hands
 * out memory from 32768 on.
 *
 * @param body imports first, then whatever the test is about
 */
export async function filterWat(imports: string, body: string): Promise<Uint8Array> {
  return wat(`(module
    ${imports}
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 32768))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32)
      global.get $heap
      (global.set $heap (i32.add (global.get $heap) (local.get 0))))
    ${body})`)
}
