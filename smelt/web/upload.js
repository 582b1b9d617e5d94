// Creation of a smelt: announce, upload with progress, submit.
import { SmeltError } from './errors.js'
import { CALL_TIMEOUT_MS, within } from './polling.js'
import { BUCKET, errorIn, persistently, reportsProgress, StorageRequests } from './storage-requests.js'
import { uploadError, withoutStall } from './storage-requests.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */
/** @import { CreateRequest, FileInput, Transport } from './smelt.d.ts' */
/** @import { Created } from './contract.d.ts' */
/** @import { SendOptions } from './storage-requests.js' */

const UPLOADS_AT_A_TIME = 3
const RESUMABLE_ABOVE_BYTES = 6 * 1024 * 1024
const CANCEL_TIMEOUT_MS = 5_000
/** @type {Record<string, string>} */
const EXTENSIONS = { mpeg: 'mp3', mp4: 'm4a', 'x-m4a': 'm4a', 'x-wav': 'wav', wave: 'wav' }

/**
 * Create a smelt, upload its files and submit it; throw the first error. An abort, or an upload that fails, cancels the
 * smelt, so that it does not count as open; unless a repeated call can go on with it by its `idempotencyKey`. With
 * `cancelOnAbort`, an abort cancels it all the same.
 * @param {Transport} transport
 * @param {CreateRequest} request
 * @returns {Promise<Created>}
 */
export async function createSmelt(transport, request) {
  const { text, prompts, mode, options, metadata, userPromptId, batchId, idempotencyKey, signal } = request
  const { timeoutMs = CALL_TIMEOUT_MS, cancelOnAbort = !idempotencyKey } = request
  const files = (request.files ?? []).map(namedFile)
  const args = defined({
    files: files.map(({ filename, size }) => ({ filename, size_bytes: size })),
    text_input: text,
    mode,
    default_prompt_names: prompts,
    user_prompt_id: userPromptId,
    batch_id: batchId,
    idempotency_key: idempotencyKey ?? randomId(),
    options,
    metadata,
  })
  /** @param {string} name @param {Record<string, unknown>} args @param {AbortSignal} [signal] */
  const call = (name, args, signal) => persistently(() => transport.call(name, args, { signal, timeoutMs }), signal)
  signal?.throwIfAborted()
  // An abort that cancels does not end this: only the response has the id to cancel.
  const creating = persistently(
    () => transport.call('create_smelt', args, { timeoutMs }),
    cancelOnAbort ? undefined : signal,
  )
  try {
    const created = await within(creating, signal)
    request.onCreated?.(created)
    if (!files.length) return created
    const isSubmitted = async () => {
      const smelt = await call('get_smelt', { smelt_id: created.id }, signal)
      // It accepts no files.
      if (!smelt.submitted_at && smelt.status === 'failed') throw new SmeltError(smelt.error_code, smelt.error_message)
      return !!smelt.submitted_at
    }
    if (idempotencyKey && (await isSubmitted())) return created
    try {
      await uploadAll(transport, created, files, { ...request, timeoutMs, cancelOnAbort })
    } catch (error) {
      // Nothing can be uploaded to a smelt that an equal call has submitted meanwhile.
      const isRejected = error instanceof SmeltError && error.status === 403
      if (idempotencyKey && isRejected && (await isSubmitted())) return created
      throw error
    }
    await call('submit_smelt', { smelt_id: created.id }, signal)
    return created
  } catch (error) {
    if (signal?.aborted ? cancelOnAbort : !idempotencyKey) {
      // The caller waits for a while, the cancellation until the announcement is answered.
      const cancelling = creating.then(({ id }) => call('cancel_smelt', { smelt_id: id }))
      await within(cancelling, undefined, CANCEL_TIMEOUT_MS).catch(() => {})
    }
    signal?.throwIfAborted()
    throw error
  }
}

/**
 * @param {Transport} transport
 * @param {Created} created
 * @param {{ filename: string, blob: Blob, size: number }[]} files
 * @param {CreateRequest} request
 */
async function uploadAll(transport, created, files, request) {
  const { onUpload, signal, timeoutMs, cancelOnAbort } = request
  const loaded = files.map(() => 0)
  const total = files.reduce((sum, { size }) => sum + size, 0)
  const stop = new AbortController()
  // After a cancellation, no later call goes on: what was saved for it is removed.
  const cancelled = new SmeltError('cancelled', 'The upload was cancelled.')
  const onAbort = () => stop.abort(cancelOnAbort ? cancelled : signal?.reason)
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
      const options = { onProgress: report, signal: stop.signal, timeoutMs, mayExist: !!request.idempotencyKey }
      await transport.upload(upload_path ?? '', blob, options)
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
 * Upload an object: resumably above 6 MiB where the server has resumable uploads.
 * @param {SupabaseClient<any, any, any>} supabase
 * @param {string} path
 * @param {Blob} blob
 * @param {SendOptions} options With `mayExist`, an object with this path is a success; submission compares the size.
 */
export async function uploadObject(supabase, path, blob, options) {
  const storage = new StorageRequests(supabase)
  try {
    if (blob.size > RESUMABLE_ABOVE_BYTES) {
      const { uploadResumably } = await import('./resumable.js')
      if (await uploadResumably(storage, path, blob, options)) return
    }
    await uploadAtOnce(storage, path, blob, options)
  } catch (error) {
    if (!(options.mayExist && error instanceof SmeltError && error.status === 409)) throw error
  }
}

/**
 * @param {StorageRequests} storage
 * @param {string} path
 * @param {Blob} blob
 * @param {SendOptions} options
 */
async function uploadAtOnce(storage, path, blob, options) {
  let isRepeated = false
  await persistently(async () => {
    try {
      await sendObject(storage, path, blob, options)
    } catch (error) {
      // An earlier try was stored although its response was lost.
      if (!(isRepeated && error instanceof SmeltError && error.status === 409)) throw error
    } finally {
      isRepeated = true
    }
  }, options.signal)
}

/**
 * Send an object with supabase-js, or where there is an XMLHttpRequest, with it: it reports the bytes that were sent.
 * @param {StorageRequests} storage
 * @param {string} path
 * @param {Blob} blob
 * @param {SendOptions} options
 */
async function sendObject(storage, path, blob, options) {
  if (reportsProgress()) {
    const response = await storage.send('POST', `/object/${BUCKET}/${path}`, { body: blob }, options)
    if (response.status >= 300) throw errorIn(response)
    return
  }
  const bucket = storage.supabase.storage.from(BUCKET)
  const send = () => bucket.upload(path, blob, { contentType: blob.type || undefined })
  const { error } = await withoutStall(blob, options, ({ signal }) => within(send(), signal))
  if (!error) return
  const { statusCode, status } = /** @type {any} */ (error)
  throw uploadError(error.message, Number(statusCode ?? status ?? 0))
}

/** @param {FileInput} input */
function namedFile(input) {
  const blob = 'blob' in input ? input.blob : input
  const given = 'blob' in input ? input.filename : input instanceof File ? input.name : undefined
  const kind = blob.type.split('/')[1]?.split(';')[0] || 'webm'
  return { blob, size: blob.size, filename: given ?? `recording.${EXTENSIONS[kind] ?? kind}` }
}

/** Return a random UUID; in a page without HTTPS, browsers have no `crypto.randomUUID`. */
export function randomId() {
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
