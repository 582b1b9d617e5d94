// The transports over smelt's HTTP gateway: calls and event streams with fetch, uploads to the project's Storage.
import { asSmeltError, errorOfResponse, SmeltError } from './errors.js'
import { EventStream, Places, ResponseError } from './event-stream.js'
import { CALL_TIMEOUT_MS, imported, within } from './polling.js'

/** @import { CallOptions, Joined, JoinHandlers, Transport } from './smelt.d.ts' */

/** @typedef {string | null | undefined} Token */
/** @typedef {Token | (() => Token | Promise<Token>)} TokenSource */
/** @typedef {{ gateway: string, token?: TokenSource, readToken?: TokenSource }} Options `gateway`: its URL */
/** @typedef {{ method?: string, body?: unknown, headers?: Record<string, string> }} Content */

const TOKEN_TIMEOUT_MS = 10_000
const EXPIRED = 'token_expired'
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
  'smelt-feed': () => '/files/events?rows=true',
})

/** Return the transport of a user, or of the holder of a read-only token. @param {Options} options */
export const gatewayTransport = (options) =>
  options.readToken == null ? new GatewayTransport(options) : new ReadOnlyTransport(options)

/** @implements {Transport} */
export class GatewayTransport {
  #places = new Places(MAX_STREAMS)
  /** @type {Promise<{ url: string, key: string }> | null} */
  #project = null

  /** @param {Options} options */
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
   * Follow the stream of a channel, again after each loss until `leave` is called; it stops on a permanent error.
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @returns {Joined}
   */
  join(topic, handlers) {
    const [kind, id] = topic.split(':')
    const path = STREAMS[kind](id)
    const open = (/** @type {Record<string, string>} */ headers, /** @type {AbortSignal} */ signal) =>
      this.send(`/api${path}`, { headers: { accept: 'text/event-stream', ...headers } }, signal)
    const onMessage = (/** @type {string} */ event, /** @type {any} */ payload) => {
      if (event !== 'change') return handlers.onMessage?.(event, payload)
      const { table, type: eventType, record } = payload
      handlers.onChange?.({ table, eventType, new: record })
    }
    return new EventStream(open, { ...handlers, onMessage }, this.#places)
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
    const response = await fetch(this.url + this.pathFor(path, token), {
      method,
      headers: {
        ...this.headersFor(token),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      signal,
    })
    if (!response.ok) throw await this.errorIn(response)
    return response
  }

  /** Return a path with what a request with this token adds to it. @param {string} path @param {string | null} _token */
  pathFor(path, _token) {
    return path
  }

  /** Return the headers that authorize a request. @param {string | null} token @returns {Record<string, string>} */
  headersFor(token) {
    return token ? { authorization: `Bearer ${token}` } : {}
  }

  /** Return the error of a response. @param {Response} response @returns {Promise<SmeltError>} */
  async errorIn(response) {
    const { status } = response
    const text = await response.text().catch(() => '')
    let body
    try {
      body = JSON.parse(text)
    } catch {
      body = { error: `The gateway responded with ${status}.` }
    }
    let { code, message, transient } = errorOfResponse({ message: body.error, hint: body.code }, status)
    if (status === 401) {
      if (body.code === EXPIRED) code = EXPIRED
      transient = typeof this.source === 'function' // Only a function may return another token.
    }
    return new ResponseError(code, message, { status, transient }, response.headers.get('retry-after'))
  }
}

/** The transport of a read-only token: it reads and watches one smelt, and does nothing else. */
class ReadOnlyTransport extends GatewayTransport {
  /** @param {Options} options */
  constructor({ gateway, readToken }) {
    super({ gateway, token: readToken })
  }

  /**
   * Read the smelt of the token.
   * @param {string} name
   * @param {any} args
   * @param {CallOptions} [options]
   */
  async call(name, args, options) {
    if (name === 'get_smelt') return super.call(name, args, options)
    if (name !== 'get_smelts') throw notAllowed()
    const read = (/** @type {{ id: string }} */ { id }) =>
      super.call('get_smelt', { smelt_id: id }, options).catch((error) => {
        // Beside the smelt of the token, another one is missing.
        if (args.smelts.length > 1 && error.code === 'not_allowed') return []
        throw error
      })
    return { smelts: (await Promise.all(args.smelts.map(read))).flat() }
  }

  /** @returns {Promise<never>} */
  async account() {
    throw notAllowed()
  }

  async upload() {
    throw notAllowed()
  }

  /** @param {string} topic @param {JoinHandlers} handlers @returns {Joined} */
  join(topic, handlers) {
    if (topic.startsWith('smelt:')) return super.join(topic, handlers)
    queueMicrotask(() => handlers.onLeft(notAllowed()))
    return { joined: false, leave: async () => {} }
  }

  /** @param {string} path @param {string | null} token */
  pathFor(path, token) {
    return `${path}${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token ?? '')}`
  }

  headersFor() {
    return {}
  }

  /** @param {Response} response */
  async errorIn(response) {
    const error = await super.errorIn(response)
    return error.status === 403 ? notAllowed(error.message) : error
  }
}

const notAllowed = (message = 'A read-only token reads one smelt, and does nothing else.') =>
  new SmeltError('not_allowed', message, { status: 403 })

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
