import { styleText } from 'node:util'
import { printable } from './printable.ts'

type Colour = Parameters<typeof styleText>[0]

/** The fields of a record that are shown. */
export interface LogRecord {
  level: number
  time: number
  msg?: string
  plugin?: string
  reqId?: string
  req?: { method: string; url: string; remoteAddress?: string }
  res?: { statusCode: number }
  responseTime?: number
  err?: { code?: string; stack?: string }
}

const LEVELS: Readonly<Record<number, readonly [string, Colour]>> = {
  10: ['trace', 'gray'],
  20: ['debug', 'gray'],
  30: ['info', 'green'],
  40: ['warn', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'magenta']
}

/** Writes pino's records as lines that a person can read. */
export const readableLog = {
  write(record: string): void {
    process.stdout.write(`${readableLine(JSON.parse(record))}\n`)
  }
}

/** A record as a line, without the newline; the stack of an error that is not expected follows. */
export function readableLine(record: LogRecord): string {
  const [level, colour] = LEVELS[record.level] ?? [String(record.level), 'gray']
  const time = new Date(record.time).toTimeString().slice(0, 8)
  const id = record.reqId === undefined ? '' : styleText('gray', ` ${record.reqId}`)
  return `${styleText('gray', time)} ${styleText(colour, level.padEnd(5))} ${printable(textOf(record))}${id}`
}

function textOf({ msg = '', plugin, req, res, responseTime, err }: LogRecord): string {
  if (req !== undefined && responseTime !== undefined) {
    const outcome = msg === 'request completed' ? '' : `, ${msg}`
    const status = res === undefined ? '' : ` ${res.statusCode}`
    return `${req.remoteAddress} ${req.method} ${req.url}${status} after ${responseTime.toFixed(1)} ms${outcome}`
  }
  // The host's own errors name the plugin.
  const text = plugin === undefined || err !== undefined ? msg : `${plugin}: ${msg}`
  // What has a code says what is wrong; of anything else it matters where it happened.
  return err === undefined || err.code !== undefined ? text : `${text}\n${err.stack}`
}
