// Resumable uploads (TUS 1.0.0), in pieces of 6 MiB.
import { SmeltError } from './errors.js'
import { findSaved, fingerprintOf, forget, save, UPLOAD_ID } from './saved-uploads.js'
import { BUCKET, errorIn, persistently } from './storage-requests.js'

/** @import { SendOptions, StorageRequests, StorageResponse } from './storage-requests.js' */

/** The hosted Storage accepts no other size, except for the last piece. */
const PIECE_BYTES = 6 * 1024 * 1024
const ENDPOINT = '/upload/resumable'
const PROTOCOL = { 'tus-resumable': '1.0.0' }
const PIECE_TRIES = 10
const MAX_STARTS = 3

/**
 * Upload a file, from where an earlier upload of the same file to the same path has stopped. Return false if the server
 * has no resumable uploads; nothing has been sent then.
 * @param {StorageRequests} storage
 * @param {string} path
 * @param {Blob} file
 * @param {SendOptions} options
 */
export async function uploadResumably(storage, path, file, options) {
  // Without a key of the app, no later call has the same path.
  const fingerprint = options.mayExist ? fingerprintOf(storage.url, path, file) : null
  for (let start = 0; start < MAX_STARTS; start += 1) {
    const saved = fingerprint && findSaved(fingerprint)
    let upload = saved && new Upload(storage, saved, file, options)
    try {
      if (!upload || !(await upload.resume())) {
        const id = await created(storage, path, file, options)
        if (!id) return false
        if (fingerprint) save(fingerprint, id)
        upload = new Upload(storage, id, file, options)
      }
      const isDone = await upload.sendRest()
      if (fingerprint) forget(fingerprint)
      if (isDone) return true
    } catch (error) {
      if (fingerprint && error instanceof SmeltError && !error.transient) forget(fingerprint)
      throw error
    }
  }
  throw new SmeltError('upload_failed', 'The server has lost the upload.', { transient: true })
}

/**
 * Create an upload and return its id; null if the server has no resumable uploads.
 * @param {StorageRequests} storage
 * @param {string} path
 * @param {Blob} file
 * @param {SendOptions} options
 */
async function created(storage, path, file, { signal, timeoutMs }) {
  const metadata = { bucketName: BUCKET, objectName: path, contentType: file.type || 'application/octet-stream' }
  const pairs = Object.entries(metadata).map(([key, value]) => `${key} ${base64(value)}`)
  const headers = { ...PROTOCOL, 'upload-length': `${file.size}`, 'upload-metadata': pairs.join() }
  const response = await persistently(async () => {
    const response = await storage.send('POST', ENDPOINT, { headers }, { signal, timeoutMs })
    if (response.status === 201 || hasNoEndpoint(response)) return response
    throw errorIn(response)
  }, signal)
  if (response.status !== 201) return null
  // A proxy may have changed the host of the URL: only its last part counts.
  const id = response.header('location')?.split('/').at(-1) ?? ''
  if (!UPLOAD_ID.test(id)) throw unexpected()
  return id
}

/** @param {StorageResponse} response */
const hasNoEndpoint = ({ status, header }) => [404, 405, 501].includes(status) && !header('tus-resumable')

/** One upload in progress: the bytes that the server has, and requests for more. */
class Upload {
  #storage
  #url
  #file
  #options
  #offset = 0

  /** @param {StorageRequests} storage @param {string} id @param {Blob} file @param {SendOptions} options */
  constructor(storage, id, file, options) {
    this.#storage = storage
    this.#url = `${ENDPOINT}/${id}`
    this.#file = file
    this.#options = options
  }

  /** Read how many bytes have arrived; return false if the upload no longer exists. */
  resume() {
    return persistently(() => this.#readOffset(), this.#options.signal, PIECE_TRIES)
  }

  /** Send the bytes that have not arrived; return false if the upload no longer exists. */
  async sendRest() {
    /** @type {boolean | null} */
    let isDone = null
    while (isDone === null) {
      let isRepeated = false
      isDone = await persistently(
        async () => {
          if (isRepeated && !(await this.#readOffset())) return false
          isRepeated = true
          return this.#sendPiece()
        },
        this.#options.signal,
        PIECE_TRIES,
      )
    }
    return isDone
  }

  /**
   * Send the next piece; return true after the last one, false if the upload is gone, else null. If all bytes have
   * arrived, the piece is empty: it completes the upload where the server failed to.
   */
  async #sendPiece() {
    const start = this.#offset
    const { onProgress, signal, timeoutMs } = this.#options
    const headers = { ...PROTOCOL, 'upload-offset': `${start}`, 'content-type': 'application/offset+octet-stream' }
    const response = await this.#storage.send(
      'PATCH',
      this.#url,
      { body: this.#file.slice(start, start + PIECE_BYTES), headers },
      { onProgress: (loaded) => onProgress?.(start + loaded), signal, timeoutMs },
    )
    if (response.status === 404 || response.status === 410) return false
    if (response.status === 409) return this.#resolveConflict(response, start)
    if (response.status !== 204) throw errorIn(response)
    this.#setOffset(response)
    return this.#offset === this.#file.size || null
  }

  /**
   * Return the outcome of a 409: the server has other bytes than assumed, or the object exists.
   * @param {StorageResponse} response
   * @param {number} start
   */
  async #resolveConflict(response, start) {
    if (!(await this.#readOffset())) return false
    if (this.#offset !== start) return null
    // An earlier request completed the upload, but its response was lost.
    if (start === this.#file.size) return true
    throw errorIn(response)
  }

  async #readOffset() {
    const { signal, timeoutMs } = this.#options
    const response = await this.#storage.send('HEAD', this.#url, { headers: PROTOCOL }, { signal, timeoutMs })
    if (response.status >= 400) {
      const error = errorIn(response)
      if (error.transient) throw error
      return false
    }
    if (response.header('upload-length') !== `${this.#file.size}`) return false
    this.#setOffset(response)
    return true
  }

  /** @param {StorageResponse} response */
  #setOffset({ header }) {
    const offset = header('upload-offset') ?? ''
    if (!/^\d+$/.test(offset)) throw unexpected()
    this.#offset = Number(offset)
    this.#options.onProgress?.(this.#offset)
  }
}

const unexpected = () => new SmeltError('upload_failed', 'Storage sent an unexpected response.', { transient: true })

/** @param {string} text */
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)))
