/** An error of a call or of the connection; `code` is stable, the message is a sentence for people. */
export class SmeltError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, transient?: boolean, cause?: unknown }} [options] `transient`: the same call may succeed
   *   later.
   */
  constructor(code, message, { status = 0, transient = false, cause } = {}) {
    super(message, { cause })
    this.name = 'SmeltError'
    this.code = code
    this.status = status
    this.transient = transient
  }
}

/** The end of a smelt that failed, with the code and sentence of the smelt. */
export class SmeltFailed extends SmeltError {
  /** @param {import('./smelt.d.ts').FailedUpdate} end */
  constructor(end) {
    super(end.error_code, end.error_message)
    this.name = 'SmeltFailed'
    this.smelt_id = end.smelt_id
  }
}

/**
 * Return an error of the network or of a response as a `SmeltError`.
 * @param {{ code?: string, hint?: string | null, message: string }} error
 * @param {number} status of the response, 0 without one
 */
export function errorOfResponse(error, status) {
  // PostgREST sends an empty code if it lost its connection to the database.
  const isLost = !status || error.code === ''
  const transient = isLost || status === 401 || status === 408 || status === 423 || status === 429 || status >= 500
  const code = isLost ? 'connection_lost' : status === 401 ? 'unauthorized' : error.hint || error.code || 'internal_error'
  return new SmeltError(code, error.message, { status, transient, cause: error })
}

/** Return the error of a call without a response. @param {string} message @param {unknown} [cause] */
export const lost = (message, cause) => new SmeltError('connection_lost', message, { transient: true, cause })

/** @param {unknown} error */
export const asSmeltError = (error) =>
  error instanceof SmeltError ? error : lost(error instanceof Error ? error.message : String(error), error)
