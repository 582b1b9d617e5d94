// Callbacks for the updates of one smelt.
import { connectSmelt } from './client.js'
import { guarded } from './store.js'

/** @import { SmeltCallbacks, SmeltUpdate } from './smelt.d.ts' */
/** @import { SmeltError } from './errors.js' */

const CALLBACKS = /** @type {const} */ ({
  progress: 'onProgress',
  segments: 'onSegments',
  completed: 'onCompleted',
  failed: 'onFailed',
})

/** A subscription to one smelt; it ends itself after `onCompleted`, `onFailed` or an error that would occur again. */
export class SmeltSubscription {
  /** @type {(() => void) | null} */
  #end = null
  #failures = 0
  #isConnected = false
  #store

  /**
   * @param {any} supabase
   * @param {string} smeltId
   * @param {SmeltCallbacks} callbacks
   * @param {number | null} [maxRetries] if not null, `onError` receives transient errors only after so many in a row,
   *   and the subscription ends with it
   */
  constructor(supabase, smeltId, callbacks, maxRetries = null) {
    this.#store = connectSmelt({ supabase }).store(smeltId)
    this.callbacks = callbacks
    this.maxRetries = maxRetries
  }

  /** Begin to call the callbacks, first for the current state; nothing happens while subscribed. */
  subscribe() {
    if (this.#end) return
    this.#failures = 0
    this.#isConnected = false
    const replay = this.#store.replay()
    const end = this.#store.observe({
      next: (update) => this.#take(update),
      error: (error) => this.#fail(/** @type {SmeltError} */ (error)),
    })
    this.#end = end
    queueMicrotask(() => {
      if (this.#end !== end) return
      if (this.#store.failure) this.#fail(/** @type {SmeltError} */ (this.#store.failure))
      for (const update of replay) if (this.#end === end) this.#take(update)
    })
  }

  /** End the subscription; nothing is called afterwards. */
  unsubscribe() {
    this.#end?.()
    this.#end = null
  }

  /** Read the state as soon as possible. */
  async requestUpdate() {
    if (this.#end) await this.#store.requestUpdate()
  }

  /** @param {SmeltUpdate} update */
  #take(update) {
    if (update.type === 'connection') return this.#onConnection(update)
    if ('completed_at' in update) this.unsubscribe()
    this.#call(CALLBACKS[update.type], update)
  }

  /** @param {Extract<SmeltUpdate, { type: 'connection' }>} update */
  #onConnection({ status, error }) {
    if (status === 'live' && !error) {
      this.#failures = 0
      if (!this.#isConnected) this.#call('onConnected')
      this.#isConnected = true
      return
    }
    if (status !== 'live' && this.#isConnected) {
      this.#isConnected = false
      this.#call('onDisconnected', error)
    }
    if (!error || !this.#end) return
    this.#failures += 1
    if (this.maxRetries === null) this.#call('onError', error)
    else if (this.#failures > this.maxRetries) this.#fail(error)
  }

  /** @param {SmeltError} error */
  #fail(error) {
    this.unsubscribe()
    this.#call('onError', error)
  }

  /** Call a callback; its exception does not affect the others. @param {keyof SmeltCallbacks} name @param {any} [value] */
  #call(name, value) {
    guarded(() => this.callbacks[name]?.(value))
  }
}

/**
 * Subscribe to a smelt; `onError` receives each error of the connection, after which the subscription goes on.
 * @param {any} supabase
 * @param {string} smeltId
 * @param {SmeltCallbacks} callbacks
 */
export function subscribeToSmelt(supabase, smeltId, callbacks) {
  const subscription = new SmeltSubscription(supabase, smeltId, callbacks)
  subscription.subscribe()
  return subscription
}

/**
 * Subscribe to a smelt; `onError` receives only an error that ends the subscription: one that would occur again, or the
 * last of more than `maxRetries` transient ones in a row.
 * @param {any} supabase
 * @param {string} smeltId
 * @param {SmeltCallbacks} callbacks
 */
export function subscribeWithRetry(supabase, smeltId, callbacks, maxRetries = Infinity) {
  const subscription = new SmeltSubscription(supabase, smeltId, callbacks, maxRetries)
  subscription.subscribe()
  return subscription
}
