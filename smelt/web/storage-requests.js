// Requests to Storage, and new attempts after transient errors.
import { asSmeltError, errorOfResponse, SmeltError } from './errors.js'
import { retryInMs, sleep, within } from './polling.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */

/** @typedef {{ status: number, text: string, header: (name: string) => string | null }} StorageResponse */
/** @typedef {{ onProgress?: (loaded: number) => void, signal?: AbortSignal }} SendOptions */

export const BUCKET = 'smelt-audio'
const MAX_TRIES = 4

/** Storage of one project, with the token of the signed-in user at the time of each request. */
export class StorageRequests {
  /** @param {SupabaseClient<any, any, any>} supabase */
  constructor(supabase) {
    this.supabase = supabase
    this.url = supabase.storage.from(BUCKET).getPublicUrl('').data.publicUrl.split('/object/public/')[0]
  }

  /**
   * Send a request; throw a transient `SmeltError` without a response. Where there is an XMLHttpRequest, the bytes of
   * the body are reported as they are sent.
   * @param {string} method
   * @param {string} path
   * @param {{ body?: Blob, headers?: Record<string, string> }} content
   * @param {SendOptions} options
   * @returns {Promise<StorageResponse>}
   */
  async send(method, path, { body, headers }, options) {
    options.signal?.throwIfAborted()
    const { realtime } = this.supabase
    await within(realtime.setAuth(), options.signal)
    const { apiKey, accessTokenValue } = realtime
    const all = { apikey: apiKey ?? '', authorization: `Bearer ${accessTokenValue ?? apiKey}`, ...headers }
    const sends = typeof XMLHttpRequest === 'undefined' ? fetched : sendWithProgress
    return sends(method, `${this.url}${path}`, all, body, options)
  }
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {Blob | undefined} body
 * @param {SendOptions} options
 */
async function fetched(method, url, headers, body, { signal }) {
  try {
    const response = await fetch(url, { method, headers, body, signal })
    const text = await response.text()
    return { status: response.status, text, header: (/** @type {string} */ name) => response.headers.get(name) }
  } catch (error) {
    signal?.throwIfAborted()
    throw asSmeltError(error)
  }
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Record<string, string>} headers
 * @param {Blob | undefined} body
 * @param {SendOptions} options
 * @returns {Promise<StorageResponse>}
 */
function sendWithProgress(method, url, headers, body, { onProgress, signal }) {
  const request = new XMLHttpRequest()
  const onAbort = () => request.abort()
  /** @type {Promise<StorageResponse>} */
  const sent = new Promise((resolve, reject) => {
    request.open(method, url)
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    if (body) request.upload.onprogress = ({ loaded }) => onProgress?.(loaded)
    request.onabort = () => reject(signal?.reason)
    request.onerror = () => reject(asSmeltError(new Error('The upload was interrupted.')))
    request.onload = () =>
      resolve({ status: request.status, text: request.responseText, header: (name) => request.getResponseHeader(name) })
    signal?.addEventListener('abort', onAbort)
    request.send(body)
  })
  return sent.finally(() => signal?.removeEventListener('abort', onAbort))
}

/** Return the error of a response of Storage: JSON, or plain text in the protocol of resumable uploads. */
export function errorIn(/** @type {StorageResponse} */ { status, text }) {
  /** @type {{ message?: string, statusCode?: string }} */
  let body = {}
  try {
    body = JSON.parse(text)
  } catch {}
  return uploadError(body.message || text.trim() || 'The upload failed.', Number(body.statusCode ?? status))
}

/** @param {string} message @param {number} status */
export function uploadError(message, status) {
  const code = status === 413 ? 'file_too_large' : 'upload_failed'
  return errorOfResponse({ message, code }, status)
}

/**
 * Call a function again after transient errors.
 * @template T
 * @param {() => Promise<T>} call
 * @param {AbortSignal} [signal]
 * @param {number} [maxTries]
 * @returns {Promise<T>}
 */
export async function persistently(call, signal, maxTries = MAX_TRIES) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call()
    } catch (error) {
      signal?.throwIfAborted()
      if (tries >= maxTries || !(error instanceof SmeltError && error.transient && error.status !== 401)) throw error
      await within(sleep(retryInMs(tries)), signal)
    }
  }
}
