// Event streams over fetch, which unlike an EventSource sends headers: parsing, resumption, new attempts.
import { asSmeltError, lost, SmeltError } from './errors.js'
import { onWake, retryInMs } from './polling.js'

/** @import { Joined, JoinHandlers } from './smelt.d.ts' */

/** @typedef {{ event: string, data: string }} ServerEvent */
/** @typedef {(headers: Record<string, string>, signal: AbortSignal) => Promise<Response>} Open */

const OPEN_TIMEOUT_MS = 10_000
/** The gateway sends a comment every 15 s: a stream without two of them is half-open. */
const SILENCE_TIMEOUT_MS = 35_000
const DEFAULT_RETRY_MS = 2_000
const MAX_RETRY_MS = 60_000

/** The error of a response; `retryAfterMs` is the delay that the server asks for, 0 without one. */
export class ResponseError extends SmeltError {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status: number, transient: boolean }} options
   * @param {string | null} retryAfter the header `Retry-After`: seconds, or a time
   */
  constructor(code, message, options, retryAfter) {
    super(code, message, options)
    this.retryAfterMs = Math.max(0, Number(retryAfter) * 1000 || Date.parse(retryAfter ?? '') - Date.now() || 0)
  }
}

/** Parses the bytes of an event stream, which may be cut anywhere. */
export class EventParser {
  /** The id that a reconnect sends. */
  lastId = ''
  /** The delay that the server asks for, if any. @type {number | null} */
  retryMs = null
  #decoder = new TextDecoder()
  #line = ''
  #endsWithCr = false
  /** @type {string[]} */
  #data = []
  #event = ''
  /** @type {string | null} */
  #id = null

  /** Return the events that these bytes complete. @param {Uint8Array} bytes @returns {ServerEvent[]} */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true })
    if (!text) return []
    if (this.#endsWithCr && text.startsWith('\n')) text = text.slice(1)
    this.#endsWithCr = text ? text.endsWith('\r') : false
    const lines = text.split(/\r\n|\r|\n/)
    lines[0] = this.#line + lines[0]
    this.#line = lines.pop() ?? ''
    return lines.flatMap((line) => this.#take(line))
  }

  /** @param {string} line @returns {ServerEvent[]} */
  #take(line) {
    if (!line) return this.#dispatch()
    const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (name === 'data') this.#data.push(value)
    else if (name === 'event') this.#event = value
    else if (name === 'id' && !value.includes('\0')) this.#id = value
    else if (name === 'retry' && /^\d+$/.test(value)) this.retryMs = Math.min(Number(value), MAX_RETRY_MS)
    return []
  }

  #dispatch() {
    const events = this.#data.length ? [{ event: this.#event || 'message', data: this.#data.join('\n') }] : []
    this.lastId = this.#id ?? this.lastId
    this.#data = []
    this.#event = ''
    this.#id = null
    return events
  }
}

/** Bounds the streams that are open at a time: without HTTP/2, a browser has six connections to a server. */
export class Places {
  #free
  /** @type {(() => void)[]} */
  #waiting = []

  /** @param {number} count */
  constructor(count) {
    this.#free = count
  }

  /**
   * Wait for a place and return a function that frees it; reject once the signal is aborted.
   * @param {AbortSignal} signal
   */
  async take(signal) {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#wait(signal)
    return () => {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free += 1
    }
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  #wait(signal) {
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve)
      signal.addEventListener('abort', () => {
        this.#waiting = this.#waiting.filter((one) => one !== resolve)
        reject(signal.reason)
      })
    })
  }
}

/**
 * A stream that is opened again after each loss until `leave` is called, or an error would occur again.
 * @implements {Joined}
 */
export class EventStream {
  joined = false
  #parser = new EventParser()
  #left = new AbortController()
  #failures = 0
  #wake = () => {}
  #stopWaking

  /**
   * @param {Open} open sends the request with these headers; throws a `SmeltError`
   * @param {JoinHandlers} handlers
   * @param {Places} places
   * @param {number} [silenceTimeoutMs]
   */
  constructor(open, handlers, places, silenceTimeoutMs = SILENCE_TIMEOUT_MS) {
    this.open = open
    this.handlers = handlers
    this.places = places
    this.silenceTimeoutMs = silenceTimeoutMs
    this.#stopWaking = onWake(() => this.#wake())
    this.#run().catch(() => {})
  }

  async leave() {
    this.joined = false
    this.#stopWaking()
    this.#left.abort()
  }

  async #run() {
    for (;;) {
      const free = await this.places.take(this.#left.signal)
      /** @type {unknown} */
      let reason
      try {
        await this.#follow()
      } catch (error) {
        reason = error
      } finally {
        free()
      }
      if (this.#left.signal.aborted) return
      const error = reason ? asSmeltError(reason) : lost('The event stream has ended.')
      const inMs = this.#lose(error, !reason)
      if (!error.transient) return this.leave()
      await this.#pause(inMs)
    }
  }

  /** Read one response to its end; throw what ended it, nothing if the server closed it. */
  async #follow() {
    const attempt = new AbortController()
    const onLeave = () => attempt.abort()
    this.#left.signal.addEventListener('abort', onLeave)
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer
    const expectBytesWithin = (/** @type {number} */ ms) => {
      clearTimeout(timer)
      timer = setTimeout(() => attempt.abort(lost('The event stream does not respond.')), ms)
    }
    expectBytesWithin(OPEN_TIMEOUT_MS)
    try {
      const { lastId } = this.#parser
      this.#parser = new EventParser()
      this.#parser.lastId = lastId
      const response = await this.open(lastId ? { 'last-event-id': lastId } : {}, attempt.signal)
      if (response.status === 204 || !response.body) {
        this.#parser.lastId = '' // All was sent before: begin again with the state.
        throw lost('The event stream is over.')
      }
      const reader = response.body.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done || this.#left.signal.aborted) return
        expectBytesWithin(this.silenceTimeoutMs)
        for (const one of this.#parser.push(value)) this.#emit(one)
      }
    } catch (error) {
      throw attempt.signal.aborted ? attempt.signal.reason : error
    } finally {
      clearTimeout(timer)
      attempt.abort()
      this.#left.signal.removeEventListener('abort', onLeave)
    }
  }

  /** @param {ServerEvent} one */
  #emit({ event, data }) {
    if (this.#left.signal.aborted) return
    const payload = JSON.parse(data)
    if (event === 'error') {
      // The response to the next request shows whether the error is permanent.
      const status = ['unauthorized', 'token_expired'].includes(payload.code) ? 401 : 0
      throw new SmeltError(payload.code, payload.error, { status, transient: true })
    }
    if (event !== 'connected') return this.handlers.onMessage?.(event, payload)
    this.joined = true
    this.#failures = 0
    this.handlers.onJoined()
  }

  /** Report a loss; return the delay of the next attempt. @param {SmeltError} error @param {boolean} isEnd */
  #lose(error, isEnd) {
    const wasJoined = this.joined
    this.joined = false
    this.#failures += 1
    this.handlers.onLeft(error)
    // Once at once with a new token; after that like any error.
    if (error.status === 401 && this.#failures === 1) return 0
    if (wasJoined && isEnd) return this.#parser.retryMs ?? DEFAULT_RETRY_MS
    const requestedMs = error instanceof ResponseError ? error.retryAfterMs : this.#parser.retryMs
    return Math.max(retryInMs(this.#failures), Math.min(requestedMs ?? 0, MAX_RETRY_MS))
  }

  /** @param {number} ms @returns {Promise<void>} */
  #pause(ms) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#wake = () => {}
        resolve()
      }
      const timer = setTimeout(end, ms)
      this.#left.signal.addEventListener('abort', end, { once: true })
      this.#wake = () => {
        this.#failures = 0
        end()
      }
    })
  }
}
