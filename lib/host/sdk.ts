import type { Producers } from './producers.ts'

/** What a module seems to be made with. Nothing in it says so for certain. */
export interface SdkGuess {
  readonly language: string
  /** The Proxy-Wasm SDK, with its version where that is to be seen */
  readonly sdk: string | null
  readonly compiler: string | null
}

/** What a guess is made from. */
interface Traces {
  readonly bytes: Buffer
  readonly producers: Producers
  readonly exports: ReadonlySet<string>
  /** As `module.name` */
  readonly imports: ReadonlySet<string>
}

/** Guesses by what compilers leave in a module, also in one that is stripped; `undefined` when nothing is known of it. */
export function guessSdk(traces: Traces): SdkGuess | undefined {
  return go(traces) ?? rust(traces) ?? assemblyScript(traces) ?? c(traces)
}

/** Go keeps the names of its packages for stack traces; TinyGo exports the whole family of allocators. */
function go({ bytes, producers, exports }: Traces): SdkGuess | undefined {
  const version = producers.get('language')?.get('Go')
  const path = textAt(bytes, 'proxy-wasm-go-sdk', /github\.com\/[\w-]+\/proxy-wasm-go-sdk/)
  const isTinyGo =
    producers.get('processed-by')?.has('TinyGo') === true ||
    ['malloc', 'free', 'calloc', 'realloc'].every((name) => exports.has(name))
  if (version === undefined && path === undefined && !isTinyGo) return undefined
  return { language: 'Go', sdk: path ?? null, compiler: version ?? (isTinyGo ? 'TinyGo' : null) }
}

/** Rust keeps the paths of the sources that panic. */
function rust({ bytes, producers }: Traces): SdkGuess | undefined {
  if (!isRust(bytes, producers)) return undefined
  const compiler = producers.get('processed-by')?.get('rustc')
  const version = textAt(bytes, 'proxy-wasm-', /proxy-wasm-\d+\.\d+\.\d+[\w.-]*(?=[\\/]src)/)
  return {
    language: 'Rust',
    sdk: version?.replace(/-(?=\d)/, ' ') ?? null,
    compiler: compiler === undefined ? null : `rustc ${compiler}`
  }
}

/** Whether a module seems to be Rust's. */
export function isRust(bytes: Buffer, producers: Producers): boolean {
  const isSaid = producers.get('processed-by')?.has('rustc') || producers.get('language')?.has('Rust')
  return isSaid || bytes.includes('library/core/src/')
}

/** AssemblyScript keeps the paths of its library, as UTF-16; older versions export their memory management. */
function assemblyScript({ bytes, exports }: Traces): SdkGuess | undefined {
  const isAssemblyScript = exports.has('__retain') || exports.has('__pin') || bytes.includes('~lib/', 0, 'utf16le')
  return isAssemblyScript ? { language: 'AssemblyScript', sdk: null, compiler: null } : undefined
}

function c({ bytes, producers, exports, imports }: Traces): SdkGuess | undefined {
  const languages = [...(producers.get('language')?.keys() ?? [])]
  const isEmscripten = imports.has('env.emscripten_notify_memory_growth') || exports.has('emscripten_stack_get_current')
  // The names of its classes, as the C++ SDK's run-time type information has them.
  const hasContexts = bytes.includes('11RootContext') || bytes.includes('11ContextBase')
  const isCpp = isEmscripten || hasContexts || languages.some((name) => name.startsWith('C_plus_plus'))
  if (!isCpp && !languages.some((name) => /^C\d\d$/.test(name))) return undefined
  const clang = producers.get('processed-by')?.get('clang')
  return {
    language: isCpp ? 'C++' : 'C',
    sdk: hasContexts ? 'proxy-wasm-cpp-sdk' : null,
    compiler: isEmscripten ? 'Emscripten' : clang === undefined ? null : `clang ${clang}`
  }
}

/** The first text in the bytes that matches, near a word that is in it. */
function textAt(bytes: Buffer, word: string, pattern: RegExp): string | undefined {
  for (let at = bytes.indexOf(word); at !== -1; at = bytes.indexOf(word, at + 1)) {
    const match = pattern.exec(bytes.toString('latin1', Math.max(0, at - 100), at + 100))
    if (match !== null) return match[0]
  }
  return undefined
}
