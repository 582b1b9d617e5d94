// A private Realtime channel over supabase-js, joined again after each loss.
import { asSmeltError } from './errors.js'
import { onWake, retryInMs, within } from './polling.js'

/** @import { SupabaseClient, RealtimeChannel } from '@supabase/supabase-js' */
/** @import { Joined, JoinHandlers } from './smelt.d.ts' */

const AUTH_TIMEOUT_MS = 10_000
const AUTH_ERROR = /unauthorized|jwt|token|permission/i

/**
 * Pass the token of the session, or the one that the app returns, to Realtime.
 * @param {SupabaseClient<any, any, any>} supabase
 * @param {AbortSignal} [signal]
 */
export const authorize = (supabase, signal) => within(supabase.realtime.setAuth(), signal, AUTH_TIMEOUT_MS)

/** @implements {Joined} */
export class PrivateChannel {
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
      await authorize(this.supabase)
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
    const removal = within(this.supabase.removeChannel(channel), undefined, AUTH_TIMEOUT_MS).catch(() => {})
    this.leaving.set(this.topic, removal)
    await removal
    if (this.leaving.get(this.topic) === removal) this.leaving.delete(this.topic)
  }
}
