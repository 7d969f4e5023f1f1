/** Milliseconds as a person reads them: `84 µs`, `1.2 ms`, `3.4 s`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 0.9995) return `${rounded(milliseconds * 1000)} µs`
  if (milliseconds < 999.5) return `${rounded(milliseconds)} ms`
  return `${rounded(milliseconds / 1000)} s`
}

export function size(bytes: number): string {
  const mib = bytes / 1024 / 1024
  return mib < 0.1 ? `${rounded(bytes / 1024)} KiB` : `${rounded(mib)} MiB`
}

function rounded(value: number): string {
  return value < 9.95 ? String(Number(value.toFixed(1))) : String(Math.round(value))
}
