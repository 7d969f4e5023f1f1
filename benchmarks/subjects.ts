import type { AppName } from './apps.ts'

/** What is sent where. */
export interface Subject {
  readonly name: string
  readonly app: AppName
  readonly path: string
  /** Besides `host` */
  readonly headers?: Readonly<Record<string, string>>
}

const SHORT = { 'user-agent': 'bench/1.0', accept: '*/*' }

export const PLAIN: Subject = { name: 'Fastify alone', app: 'plain', path: '/' }
export const HOOKS: Subject = { name: 'JavaScript hooks', app: 'hooks', path: '/stamp' }
export const NO_FILTER: Subject = { name: 'no filter', app: 'gateway', path: '/' }
export const STAMP: Subject = { name: 'small filter', app: 'gateway', path: '/stamp' }
export const GO: Subject = { name: 'Go filter', app: 'gateway', path: '/stamp-go' }
export const THREE: Subject = { name: 'three small filters', app: 'gateway', path: '/stamp,second,third' }

/** The bytes of a request, as text. */
export function requestOf({ path, headers = SHORT }: Pick<Subject, 'path' | 'headers'>): string {
  const lines = Object.entries({ host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}
