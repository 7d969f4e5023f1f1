/** An answer of the Admin API that is no success, in APISIX's shape. */
export class AdminError extends Error {
  readonly statusCode: number
  readonly body: Readonly<Record<string, unknown>>

  /** @param more what the answer has beside `error_msg` */
  constructor(statusCode: number, message: string, more: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.statusCode = statusCode
    this.body = { error_msg: message, ...more }
  }
}

/** What is asked for is not there. */
export class KeyNotFound extends AdminError {
  override readonly body: Readonly<Record<string, unknown>> = { message: 'Key not found' }

  constructor() {
    super(404, 'Key not found')
  }
}
