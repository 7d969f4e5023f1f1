const UNITS = ['bytes', 'KiB', 'MiB', 'GiB'] as const

/** A number of bytes for people: `331 bytes`, `2.5 MiB`. */
export function byteSize(bytes: number): string {
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || Number.isInteger(value) ? value : value.toFixed(1)} ${UNITS[unit]}`
}
