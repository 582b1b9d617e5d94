// Requests to Storage, which end without progress, and new attempts after transient errors.
import { asSmeltError, errorOfResponse, lost, SmeltError } from './errors.js'
import { CALL_TIMEOUT_MS, retryInMs, sleep, within } from './polling.js'
import { authorize } from './private-channel.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */

/** @typedef {{ status: number, text: string, header: (name: string) => string | null }} StorageResponse */
/**
 * @typedef {object} SendOptions
 * @property {(loaded: number) => void} [onProgress]
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs] after this time without an answer or progress, a request is tried again
 * @property {boolean} [mayExist] an earlier call may have sent the file, or a part of it
 */

export const BUCKET = 'smelt-audio'
const MAX_TRIES = 4
const MIB = 1024 * 1024

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
    return withoutStall(body, options, async (limited) => {
      await authorize(this.supabase, limited.signal)
      const { apiKey, accessTokenValue } = this.supabase.realtime
      const all = { apikey: apiKey ?? '', authorization: `Bearer ${accessTokenValue ?? apiKey}`, ...headers }
      const sends = reportsProgress() ? sendWithProgress : fetched
      return sends(method, `${this.url}${path}`, all, body, limited)
    })
  }
}

/** Return true if the bytes of a request are reported as they are sent. */
export const reportsProgress = () => typeof XMLHttpRequest !== 'undefined'

/**
 * Send a request; abort it after `timeoutMs` without an answer or progress, and throw a transient error then. Where
 * progress is not reported, the time is longer by itself for each MiB of the body.
 * @template T
 * @param {Blob | undefined} body
 * @param {SendOptions} options
 * @param {(options: SendOptions) => Promise<T>} send
 */
export async function withoutStall(body, { timeoutMs = CALL_TIMEOUT_MS, signal, onProgress }, send) {
  signal?.throwIfAborted()
  const limitMs = reportsProgress() ? timeoutMs : timeoutMs * (1 + (body?.size ?? 0) / MIB)
  const limit = new AbortController()
  const onAbort = () => limit.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let sent = -1
  const report = (/** @type {number} */ loaded) => {
    if (loaded > sent) {
      sent = loaded
      clearTimeout(timer)
      timer = setTimeout(() => limit.abort(lost(`There was no response or progress within ${limitMs / 1000} s.`)), limitMs)
    }
    if (loaded) onProgress?.(loaded)
  }
  report(0)
  try {
    return await send({ signal: limit.signal, onProgress: report })
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
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
  // A request for the same upload stops the one in progress; it may be one of an earlier call that arrives late.
  const actual = text.includes('lock acquired') ? 423 : Number(body.statusCode ?? status)
  return uploadError(body.message || text.trim() || 'The upload failed.', actual)
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
