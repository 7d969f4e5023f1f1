import type { Logger } from '../../lib/host/index.ts'

export interface Line {
  level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'
  msg: string
  plugin?: string
  context?: number
  err?: Error & { code?: string }
}

/** A logger that keeps its lines. */
export class RecordingLogger implements Logger {
  readonly lines: Line[] = []
  level?: string

  trace(fields: object, msg: string): void {
    this.lines.push({ level: 'trace', msg, ...fields })
  }
  debug(fields: object, msg: string): void {
    this.lines.push({ level: 'debug', msg, ...fields })
  }
  info(fields: object, msg: string): void {
    this.lines.push({ level: 'info', msg, ...fields })
  }
  warn(fields: object, msg: string): void {
    this.lines.push({ level: 'warn', msg, ...fields })
  }
  error(fields: object, msg: string): void {
    this.lines.push({ level: 'error', msg, ...fields })
  }
  fatal(fields: object, msg: string): void {
    this.lines.push({ level: 'fatal', msg, ...fields })
  }

  /** The messages, of one level when it is given. */
  messages(level?: Line['level']): string[] {
    return this.lines.filter((line) => level === undefined || line.level === level).map((line) => line.msg)
  }
}
