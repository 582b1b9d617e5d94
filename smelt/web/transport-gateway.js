// The transport over smelt's HTTP gateway: calls and event streams with fetch, uploads to the project's Storage.
import { asSmeltError, errorOfResponse, SmeltError } from './errors.js'
import { EventStream, Places } from './event-stream.js'
import { CALL_TIMEOUT_MS, imported, within } from './polling.js'

/** @import { CallOptions, Joined, JoinHandlers, Transport } from './smelt.d.ts' */

/** @typedef {string | null | undefined} Token */
/** @typedef {Token | (() => Token | Promise<Token>)} TokenSource */
/** @typedef {{ method?: string, body?: unknown, headers?: Record<string, string> }} Content */

const TOKEN_TIMEOUT_MS = 10_000
/** Of six connections of a browser two stay free for calls. */
const MAX_STREAMS = typeof document === 'undefined' ? 16 : 4

/** The request of each SQL function for clients: its path below `/api`, and its content. */
const REQUESTS = /** @type {Record<string, (args: any) => [string, Content]>} */ ({
  create_smelt: ({ text_input: text, default_prompt_names: prompts, idempotency_key, ...rest }) => [
    '/smelts',
    { method: 'POST', body: { text, prompts, ...rest }, headers: { 'idempotency-key': idempotency_key } },
  ],
  get_smelts: (body) => ['/smelts/states', { method: 'POST', body }],
  get_smelt: ({ smelt_id, with_words }) => [`/smelts/${smelt_id}${with_words ? '?words=true' : ''}`, {}],
  submit_smelt: ({ smelt_id }) => [`/smelts/${smelt_id}/submit`, { method: 'POST' }],
  cancel_smelt: ({ smelt_id }) => [`/smelts/${smelt_id}/cancel`, { method: 'POST' }],
  retry_smelt: ({ smelt_id }) => [`/smelts/${smelt_id}/retry`, { method: 'POST' }],
  delete_smelt: ({ smelt_id }) => [`/smelts/${smelt_id}`, { method: 'DELETE' }],
  create_smelt_batch: (body) => ['/batches', { method: 'POST', body }],
})

/** The stream of a channel by the part of its topic before the colon; the rest is an id. */
const STREAMS = /** @type {Record<string, (id: string) => string>} */ ({
  smelt: (id) => `/smelts/${id}/events`,
  'smelt-batch': (id) => `/batches/${id}/events`,
  'smelt-notifications': () => '/notifications/events',
})

/** @implements {Transport} */
export class GatewayTransport {
  #places = new Places(MAX_STREAMS)
  /** @type {Promise<{ url: string, key: string }> | null} */
  #project = null

  /** @param {{ gateway: string, token?: TokenSource }} options `gateway`: its URL */
  constructor({ gateway, token }) {
    this.url = gateway.replace(/\/+$/, '')
    this.source = token
  }

  /**
   * Call a SQL function by its route.
   * @param {string} name
   * @param {Record<string, unknown>} args
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async call(name, args, options) {
    const [path, content] = REQUESTS[name](args)
    return this.request(`/api${path}`, content, options)
  }

  /** Return what belongs to the signed-in user. */
  async account() {
    return new (await imported(import('./account-gateway.js'))).GatewayAccount(this)
  }

  /**
   * Upload a file to an announced path of the project's Storage.
   * @param {string} path
   * @param {Blob} file
   * @param {{ onProgress?: (loaded: number) => void, signal?: AbortSignal, mayExist?: boolean }} options
   */
  async upload(path, file, options) {
    const { uploadObject } = await imported(import('./upload.js'))
    this.#project ??= this.request('/config.json', {})
    try {
      const project = await within(this.#project, options.signal)
      await uploadObject(storageClient(project, () => this.token()), path, file, options)
    } catch (error) {
      this.#project = null
      throw error
    }
  }

  /**
   * Follow the stream of a channel, again after each loss until `leave` is called.
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @returns {Joined}
   */
  join(topic, handlers) {
    const [kind, id] = topic.split(':')
    const path = STREAMS[kind]
    if (!path) {
      queueMicrotask(() => handlers.onLeft(notSupported('A gateway has no live changes of rows')))
      return { joined: false, leave: async () => {} }
    }
    const open = (/** @type {Record<string, string>} */ headers, /** @type {AbortSignal} */ signal) =>
      this.send(`/api${path(id)}`, { headers: { accept: 'text/event-stream, application/json', ...headers } }, signal)
    return new EventStream(open, handlers, this.#places)
  }

  /** Return the current token, null for a visitor. */
  async token() {
    const token = typeof this.source === 'function' ? this.source() : this.source
    return (await within(Promise.resolve(token), undefined, TOKEN_TIMEOUT_MS)) || null
  }

  /**
   * Send a request and return its JSON, null without any.
   * @param {string} path
   * @param {Content} content
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async request(path, content, { signal, timeoutMs = CALL_TIMEOUT_MS } = {}) {
    try {
      const read = async (/** @type {AbortSignal} */ limit) => (await this.send(path, content, limit)).text()
      const text = await within(read, signal, timeoutMs)
      return text ? JSON.parse(text) : null
    } catch (error) {
      signal?.throwIfAborted()
      throw asSmeltError(error)
    }
  }

  /**
   * Send a request and return its response; throw the error that it contains.
   * @param {string} path
   * @param {Content} content
   * @param {AbortSignal} signal
   */
  async send(path, { method = 'GET', body, headers }, signal) {
    const token = await within(this.token(), signal)
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      signal,
    })
    if (!response.ok) throw await errorIn(response)
    return response
  }
}

/** @param {string} what */
export const notSupported = (what) =>
  new SmeltError('not_supported', `${what}: pass a supabase-js client to connectSmelt for this.`)

/** @param {Response} response */
async function errorIn(response) {
  const text = await response.text().catch(() => '')
  try {
    const { error, code } = JSON.parse(text)
    return errorOfResponse({ message: error, hint: code }, response.status)
  } catch {
    return errorOfResponse({ message: `The gateway responded with ${response.status}.` }, response.status)
  }
}

/**
 * Return the part of a supabase-js client that an upload uses.
 * @param {{ url: string, key: string }} project
 * @param {() => Promise<string | null>} token
 * @returns {any}
 */
function storageClient({ url, key }, token) {
  const realtime = {
    apiKey: key,
    accessTokenValue: /** @type {string | null} */ (null),
    setAuth: async () => {
      realtime.accessTokenValue = await token()
    },
  }
  const from = (/** @type {string} */ bucket) => ({
    getPublicUrl: () => ({ data: { publicUrl: `${url}/storage/v1/object/public/${bucket}/` } }),
    // Where there is no XMLHttpRequest.
    upload: async (/** @type {string} */ path, /** @type {Blob} */ body) => {
      await realtime.setAuth()
      const headers = { apikey: key, authorization: `Bearer ${realtime.accessTokenValue ?? key}` }
      try {
        const response = await fetch(`${url}/storage/v1/object/${bucket}/${path}`, { method: 'POST', headers, body })
        const { message, statusCode } = await response.json()
        return { error: response.ok ? null : { message, statusCode: statusCode ?? response.status } }
      } catch (error) {
        return { error: { message: asSmeltError(error).message, statusCode: 0 } }
      }
    },
  })
  return { realtime, storage: { from } }
}
