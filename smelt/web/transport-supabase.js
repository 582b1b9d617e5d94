// The transport over supabase-js: calls, uploads and private Realtime channels.
import { asSmeltError, errorOfResponse } from './errors.js'
import { onWake, retryInMs, within } from './polling.js'

/** @import { SupabaseClient, RealtimeChannel } from '@supabase/supabase-js' */
/** @import { CallOptions, Joined, JoinHandlers, Transport } from './smelt.d.ts' */

const AUTH_TIMEOUT_MS = 10_000
const AUTH_ERROR = /unauthorized|jwt|token|permission/i

/** @implements {Transport} */
export class SupabaseTransport {
  /** @type {Map<string, Promise<unknown>>} */
  #leaving = new Map()

  /** @param {SupabaseClient<any, any, any>} supabase */
  constructor(supabase) {
    this.supabase = supabase
  }

  /**
   * Call a SQL function; arguments that are undefined take their defaults.
   * @param {string} name
   * @param {Record<string, unknown>} args
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async call(name, args, options) {
    return dataOf(this.supabase.rpc(name, args), options)
  }

  /** Return what belongs to the signed-in user. */
  async account() {
    return new (await import('./account-supabase.js')).SupabaseAccount(this.supabase)
  }

  /**
   * Upload a file to an announced path.
   * @param {string} path
   * @param {Blob} file
   * @param {{ onProgress?: (loaded: number) => void, signal?: AbortSignal, mayExist?: boolean }} options
   */
  async upload(path, file, options) {
    const { uploadObject } = await import('./upload.js')
    await uploadObject(this.supabase, path, file, options)
  }

  /**
   * Join a private channel, again after each loss until `leave` is called.
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @returns {Joined}
   */
  join(topic, handlers) {
    return new PrivateChannel(this.supabase, topic, handlers, this.#leaving)
  }
}

/** @implements {Joined} */
class PrivateChannel {
  joined = false
  /** @type {RealtimeChannel | null} */
  #channel = null
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #failures = 0
  #isLeft = false
  #stopWaking

  /**
   * @param {SupabaseClient<any, any, any>} supabase
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @param {Map<string, Promise<unknown>>} leaving removals of channels that have not ended, by topic
   */
  constructor(supabase, topic, handlers, leaving) {
    this.supabase = supabase
    this.topic = topic
    this.handlers = handlers
    this.leaving = leaving
    this.#stopWaking = onWake(() => {
      if (!this.#timer) return
      this.#failures = 0
      this.#join()
    })
    this.#join()
  }

  async leave() {
    this.#isLeft = true
    this.joined = false
    this.#stopWaking()
    clearTimeout(this.#timer)
    await this.#remove()
  }

  async #join() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    try {
      // A channel object with the same topic is only made once the previous one is removed.
      await this.leaving.get(this.topic)
      await within(this.supabase.realtime.setAuth(), AbortSignal.timeout(AUTH_TIMEOUT_MS))
      if (this.#isLeft || this.#channel) return
      if (this.supabase.getChannels().some(({ topic }) => topic === `realtime:${this.topic}`)) {
        // supabase-js would return that channel, which may be public, and never call back.
        throw new Error(`The app has a channel ${this.topic} of its own.`)
      }
      this.#subscribe()
    } catch (error) {
      this.#lose(error)
    }
  }

  #subscribe() {
    const { onMessage, changes = [], onChange } = this.handlers
    const channel = this.supabase.channel(this.topic, { config: { private: true } })
    this.#channel = channel
    const isCurrent = () => this.#channel === channel
    channel.on('broadcast', { event: '*' }, ({ event, payload }) => isCurrent() && onMessage?.(event, payload))
    for (const { table, filter } of changes) {
      for (const event of /** @type {const} */ (['INSERT', 'UPDATE'])) {
        channel.on(
          'postgres_changes',
          /** @type {any} */ ({ event, schema: 'public', table, filter }),
          (change) => isCurrent() && onChange?.(change),
        )
      }
    }
    channel.on('system', {}, ({ extension, status, message }) => {
      if (!isCurrent()) return
      if (status === 'error') this.#lose(message)
      else if (extension === 'postgres_changes') this.#gain() // Changes before this were not sent.
    })
    channel.subscribe((status, error) => {
      if (!isCurrent()) return
      if (status === 'SUBSCRIBED') return changes.length ? undefined : this.#gain()
      // supabase-js would wait forever for the response to a handshake.
      if (status === 'TIMED_OUT' && this.supabase.realtime.isConnecting()) this.supabase.realtime.disconnect()
      this.#lose(error ?? `The live connection is ${status}.`)
    })
  }

  #gain() {
    this.joined = true
    this.#failures = 0
    this.handlers.onJoined()
  }

  /** @param {unknown} reason an error or a sentence */
  #lose(reason) {
    if (this.#isLeft) return
    const error = asSmeltError(reason)
    this.joined = false
    this.#remove()
    this.#failures += 1
    // Once at once with a new token; after that like any error.
    const heals = AUTH_ERROR.test(error.message) && this.#failures === 1
    this.#timer = setTimeout(() => this.#join(), heals ? 0 : retryInMs(this.#failures))
    this.handlers.onLeft(error)
  }

  async #remove() {
    const channel = this.#channel
    if (!channel) return
    this.#channel = null
    const removal = this.supabase.removeChannel(channel).catch(() => {})
    this.leaving.set(this.topic, removal)
    await removal
    if (this.leaving.get(this.topic) === removal) this.leaving.delete(this.topic)
  }
}

/**
 * Return the data of a response; throw its error.
 * @param {any} request
 * @param {CallOptions} [options]
 */
export async function dataOf(request, { signal, timeoutMs } = {}) {
  const limit = AbortSignal.any([signal, timeoutMs && AbortSignal.timeout(timeoutMs)].filter((one) => !!one))
  const { data, error, status } = await within(request.abortSignal(limit), limit)
  if (error) throw errorOfResponse(error, status)
  return data
}
