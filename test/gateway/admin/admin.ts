import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { WasmGatewayOptions } from '../../../lib/index.ts'
import { startApp, type TestApp } from '../../app.ts'
import { type Response, request } from '../../http.ts'

export const KEY = 'a key for tests'
/** What curl says of a body when it is told nothing. */
const CURL = { 'content-type': 'application/x-www-form-urlencoded' }

/** What the Admin API answers: an object, a list of them, or an error. */
export interface AdminBody {
  key: string
  value: { id: string; create_time: number; update_time: number; [key: string]: unknown }
  createdIndex: number
  modifiedIndex: number
  total: number
  list: AdminBody[]
  error_msg: string
  message: string
  /** Of a schema */
  properties: Record<string, { additionalProperties?: boolean } | undefined>
  [key: string]: unknown
}

export interface AdminAnswer {
  status: number
  headers: Response['headers']
  /** Parsed where it is JSON, else the text. */
  body: AdminBody
}

/**
 * One request to the Admin API, as curl makes it.
 *
 * @param body an object goes as JSON
 */
export type Admin = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string | undefined>
) => Promise<AdminAnswer>

export interface AdminApp extends TestApp {
  admin: Admin
  adminUrl: string
}

/** Starts a gateway whose Admin API has a listener of its own, unless the options say otherwise. */
export async function startAdmin(
  t: TestContext,
  options: WasmGatewayOptions = {},
  declare: (app: FastifyInstance) => void | Promise<void> = () => {}
): Promise<AdminApp> {
  const started = await startApp(t, { admin: { key: KEY, listen: { port: 0 } }, ...options }, declare)
  const line = started.lines.find(({ msg }) => msg.startsWith('Admin API listening at '))
  const adminUrl = `${line?.msg.slice('Admin API listening at '.length) ?? started.url}/apisix/admin`
  return { ...started, adminUrl, admin: adminOf(adminUrl) }
}

/** @param url with the prefix */
export function adminOf(url: string): Admin {
  return async (method, path, body, headers = {}) => {
    const bytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
    const length = bytes === undefined ? {} : { ...CURL, 'content-length': String(Buffer.byteLength(bytes)) }
    const all = Object.entries({ 'x-api-key': KEY, ...length, ...headers }).filter(([, value]) => value !== undefined)
    const response = await request(url + path, {
      method,
      headers: Object.fromEntries(all),
      ...(bytes !== undefined && { body: bytes })
    })
    const isJson = response.headers['content-type']?.startsWith('application/json')
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && response.text !== '' ? JSON.parse(response.text) : response.text
    }
  }
}

/** Requests, and checks the status. */
export async function expectStatus(answer: Promise<AdminAnswer>, status: number): Promise<AdminBody> {
  const { status: actual, body } = await answer
  assert.equal(actual, status, JSON.stringify(body))
  return body
}
