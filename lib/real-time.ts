// As they are when this is loaded. Tests put others in their place, which come when the test says so, or never: what the host
// does, and how it stops a filter that takes too long, is not to depend on those.

export const { queueMicrotask, setImmediate, setTimeout } = globalThis
export const now: () => number = performance.now.bind(performance)
