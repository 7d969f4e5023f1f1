/** Bytes of a long response. */
export const LONG = 1024 * 1024 * 1024
