// Creation of a smelt: announce, upload with progress, submit.
import { asSmeltError, errorOfResponse, SmeltError } from './errors.js'
import { retryInMs, sleep, within } from './polling.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */
/** @import { CreateRequest, FileInput, Transport } from './smelt.d.ts' */
/** @import { Created } from './contract.d.ts' */

const BUCKET = 'smelt-audio'
const UPLOADS_AT_A_TIME = 3
const MAX_TRIES = 4
const CANCEL_TIMEOUT_MS = 5_000
/** @type {Record<string, string>} */
const EXTENSIONS = { mpeg: 'mp3', mp4: 'm4a', 'x-m4a': 'm4a', 'x-wav': 'wav', wave: 'wav' }

/**
 * Create a smelt, upload its files and submit it; throw the first error. An abort, or an upload that fails, cancels the
 * smelt, so that it does not count as open; unless a repeated call can go on with it by its `idempotencyKey`.
 * @param {Transport} transport
 * @param {CreateRequest} request
 * @returns {Promise<Created>}
 */
export async function createSmelt(transport, request) {
  const { text, prompts, mode, options, metadata, userPromptId, batchId, signal } = request
  const files = (request.files ?? []).map(namedFile)
  const args = defined({
    files: files.map(({ filename, size }) => ({ filename, size_bytes: size })),
    text_input: text,
    mode,
    default_prompt_names: prompts,
    user_prompt_id: userPromptId,
    batch_id: batchId,
    idempotency_key: request.idempotencyKey ?? randomId(),
    options,
    metadata,
  })
  signal?.throwIfAborted()
  // Not aborted under way: only the response has the id to cancel.
  const creating = persistently(() => transport.call('create_smelt', args), signal)
  try {
    const created = await within(creating, signal)
    request.onCreated?.(created)
    if (!files.length) return created
    if (
      request.idempotencyKey &&
      (await transport.call('get_smelt', { smelt_id: created.id }, { signal })).submitted_at
    )
      return created
    await uploadAll(transport, created, files, request)
    await persistently(() => transport.call('submit_smelt', { smelt_id: created.id }, { signal }), signal)
    return created
  } catch (error) {
    const cancel = async () => transport.call('cancel_smelt', { smelt_id: (await creating).id })
    if (!request.idempotencyKey) await within(cancel(), AbortSignal.timeout(CANCEL_TIMEOUT_MS)).catch(() => {})
    throw error
  }
}

/**
 * @param {Transport} transport
 * @param {Created} created
 * @param {{ filename: string, blob: Blob, size: number }[]} files
 * @param {CreateRequest} request
 */
async function uploadAll(transport, created, files, { onUpload, signal, idempotencyKey }) {
  const loaded = files.map(() => 0)
  const total = files.reduce((sum, { size }) => sum + size, 0)
  const stop = new AbortController()
  const onAbort = () => stop.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  signal?.throwIfAborted()
  const waiting = files.entries()
  const work = async () => {
    for (const [n, { filename, blob, size }] of waiting) {
      const { id, upload_path } = created.files[n]
      const report = (/** @type {number} */ bytes) => {
        loaded[n] = Math.min(bytes, size) // The request is larger than the file.
        onUpload?.({
          file_id: id,
          filename,
          loaded: loaded[n],
          size,
          totalLoaded: loaded.reduce((a, b) => a + b),
          total,
        })
      }
      await uploadOne(transport, upload_path ?? '', blob, { onProgress: report, signal: stop.signal }, !!idempotencyKey)
      report(size)
    }
  }
  try {
    await Promise.all(files.slice(0, UPLOADS_AT_A_TIME).map(work))
  } catch (error) {
    stop.abort(error)
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/**
 * @param {Transport} transport
 * @param {string} path
 * @param {Blob} blob
 * @param {{ onProgress: (loaded: number) => void, signal: AbortSignal }} options
 * @param {boolean} mayExist
 */
async function uploadOne(transport, path, blob, options, mayExist) {
  let tries = 0
  const upload = async () => {
    tries += 1
    try {
      await transport.upload(path, blob, options)
    } catch (error) {
      // An earlier try was stored although its response was lost; submission compares the size.
      if (!(error instanceof SmeltError && error.status === 409 && (tries > 1 || mayExist))) throw error
    }
  }
  await persistently(upload, options.signal)
}

/**
 * Call a function again after transient errors.
 * @template T
 * @param {() => Promise<T>} call
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
async function persistently(call, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call()
    } catch (error) {
      signal?.throwIfAborted()
      if (tries >= MAX_TRIES || !(error instanceof SmeltError && error.transient && error.status !== 401)) throw error
      await within(sleep(retryInMs(tries)), signal)
    }
  }
}

/**
 * Upload an object with supabase-js, or where there is an XMLHttpRequest, with it: it reports the bytes that were sent.
 * @param {SupabaseClient<any, any, any>} supabase
 * @param {string} path
 * @param {Blob} blob
 * @param {{ onProgress?: (loaded: number) => void, signal?: AbortSignal }} options
 */
export async function uploadObject(supabase, path, blob, { onProgress, signal }) {
  signal?.throwIfAborted()
  const bucket = supabase.storage.from(BUCKET)
  if (typeof XMLHttpRequest === 'undefined') {
    const { error } = await within(bucket.upload(path, blob, { contentType: blob.type || undefined }), signal)
    if (error)
      throw uploadError(error, Number(/** @type {any} */ (error).statusCode ?? /** @type {any} */ (error).status ?? 0))
    return
  }
  await within(supabase.realtime.setAuth(), signal)
  const url = bucket.getPublicUrl(path).data.publicUrl.replace('/object/public/', '/object/')
  const { apiKey, accessTokenValue } = supabase.realtime
  await sendBlob(
    url,
    blob,
    { apikey: apiKey ?? '', authorization: `Bearer ${accessTokenValue ?? apiKey}` },
    { onProgress, signal },
  )
}

/**
 * @param {string} url
 * @param {Blob} blob
 * @param {Record<string, string>} headers
 * @param {{ onProgress?: (loaded: number) => void, signal?: AbortSignal }} options
 * @returns {Promise<void>}
 */
function sendBlob(url, blob, headers, { onProgress, signal }) {
  const request = new XMLHttpRequest()
  const onAbort = () => request.abort()
  /** @type {Promise<void>} */
  const sent = new Promise((resolve, reject) => {
    request.open('POST', url)
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    request.upload.onprogress = ({ loaded }) => onProgress?.(loaded)
    request.onabort = () => reject(signal?.reason)
    request.onerror = () => reject(asSmeltError(new Error('The upload was interrupted.')))
    request.onload = () => {
      if (request.status < 300) return resolve()
      const body = parsed(request.responseText)
      reject(uploadError({ message: body.message ?? request.statusText }, Number(body.statusCode ?? request.status)))
    }
    signal?.addEventListener('abort', onAbort)
    request.send(blob)
  })
  return sent.finally(() => signal?.removeEventListener('abort', onAbort))
}

/** @param {{ message: string }} error @param {number} status */
function uploadError(error, status) {
  const code = status === 413 ? 'file_too_large' : 'upload_failed'
  return errorOfResponse({ message: error.message, code }, status)
}

/** @param {string} text @returns {{ message?: string, statusCode?: string }} */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

/** @param {FileInput} input */
function namedFile(input) {
  const blob = 'blob' in input ? input.blob : input
  const given = 'blob' in input ? input.filename : input instanceof File ? input.name : undefined
  const kind = blob.type.split('/')[1]?.split(';')[0] || 'webm'
  return { blob, size: blob.size, filename: given ?? `recording.${EXTENSIONS[kind] ?? kind}` }
}

/** Return a random UUID; in a page without HTTPS, browsers have no `crypto.randomUUID`. */
function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID()
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

/**
 * @template {Record<string, unknown>} T
 * @param {T} args
 */
const defined = (args) =>
  Object.fromEntries(Object.entries(args).filter(([, value]) => value !== undefined && value !== null))
