// A state that is read after each join of its channel, after events that are incomplete, and from time to time.
import { asSmeltError } from './errors.js'
import { FIRST_READ_MS, pollInMs, retryInMs, within } from './polling.js'
import { Store } from './store.js'

/** @import { ConnectionView, Joined, JoinHandlers } from './smelt.d.ts' */
/** @import { SmeltClient } from './client.js' */
/** @import { SmeltError } from './errors.js' */

const MAX_UNAUTHORIZED = 3
const CHANNEL_TIMEOUT_MS = 10_000

/**
 * @template {{ connection: ConnectionView, error: { code: string, message: string } | null }} View, Item
 * @extends {Store<View, Item>}
 */
export class Live extends Store {
  /** @type {Joined | null} */
  #channel = null
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #generation = 0
  #failures = 0
  #isReading = false
  #isRequested = false
  #stopWaking = () => {}
  eventAt = -Infinity

  /**
   * @param {SmeltClient} client
   * @param {View} view
   * @param {number} [liveReadMs] the interval of reads while joined, if not that of a watch
   */
  constructor(client, view, liveReadMs) {
    super(view)
    this.client = client
    this.liveReadMs = liveReadMs
  }

  /** Return the channel and its handlers. @returns {Promise<{ topic: string, handlers: Partial<JoinHandlers> }>} */
  async channel() {
    throw new Error('not implemented')
  }

  /** Read the state and merge it. @returns {Promise<void>} */
  async load() {
    throw new Error('not implemented')
  }

  get isJoined() {
    return this.#channel?.joined ?? false
  }

  start() {
    this.#generation += 1
    this.#failures = 0
    this.failure = null
    this.#stopWaking = this.client.onWake(() => this.requestUpdate())
    this.setConnection({ status: 'connecting', error: null })
    this.#open(this.#generation)
  }

  stop() {
    this.#generation += 1
    this.#stopWaking()
    clearTimeout(this.#timer)
    this.#channel?.leave()
    this.#channel = null
    this.setConnection({ status: 'idle' })
  }

  /** Read as soon as possible; if a read is running, once more after it. */
  requestUpdate() {
    if (this.failure && this.isObserved) return this.start()
    this.#isRequested = true
    this.#run(this.#generation)
  }

  /** Merge a part of the view. @param {Partial<View>} change */
  update(change) {
    this.set({ ...this.view, ...change })
  }

  /** @param {Partial<ConnectionView>} change */
  setConnection(change) {
    const { error, status } = { ...this.view.connection, ...change }
    if (error === this.view.connection.error && status === this.view.connection.status) return
    this.set({ ...this.view, connection: { ...this.view.connection, status, error } })
  }

  /** @param {number} generation */
  async #open(generation) {
    try {
      const { topic, handlers } = await within(this.channel(), AbortSignal.timeout(CHANNEL_TIMEOUT_MS))
      if (generation !== this.#generation) return
      this.#timer = setTimeout(() => this.requestUpdate(), FIRST_READ_MS)
      this.#channel = this.client.join(topic, {
        ...handlers,
        onMessage: (event, payload) => {
          this.eventAt = performance.now()
          handlers.onMessage?.(event, payload)
        },
        onJoined: () => {
          this.eventAt = performance.now()
          this.setConnection({ status: 'live', error: null })
          this.requestUpdate()
        },
        onLeft: (error) => {
          this.setConnection({ status: 'polling', error })
          this.#plan(pollInMs({ joined: false, eventAgeMs: 0, underWay: true }))
        },
      })
    } catch (error) {
      if (generation === this.#generation) this.#onError(asSmeltError(error), () => this.#open(generation))
    }
  }

  /** @param {number} generation */
  async #run(generation) {
    if (this.#isReading) return
    this.#isReading = true
    while (this.#isRequested && generation === this.#generation) {
      this.#isRequested = false
      try {
        await this.load()
        if (generation !== this.#generation) break
        this.#failures = 0
        if (this.view.error) this.set({ ...this.view, error: null })
        const joined = this.isJoined
        const eventAgeMs = performance.now() - this.eventAt
        this.#plan((joined && this.liveReadMs) || pollInMs({ joined, eventAgeMs, underWay: true }))
      } catch (error) {
        if (generation === this.#generation) this.#onError(asSmeltError(error), () => this.requestUpdate())
      }
    }
    this.#isReading = false
    if (this.#isRequested) this.#run(this.#generation)
  }

  /** @param {SmeltError} error @param {() => void} again */
  #onError(error, again) {
    this.#failures += 1
    // A token may have expired just now; the next call has a new one.
    if (error.transient && (error.status !== 401 || this.#failures < MAX_UNAUTHORIZED)) {
      this.setConnection({ error })
      this.#plan(retryInMs(this.#failures), again)
      return
    }
    this.stop()
    this.set({ ...this.view, error: { code: error.code, message: error.message } })
    this.fail(error)
  }

  /** @param {number} inMs */
  #plan(inMs, again = () => this.requestUpdate()) {
    clearTimeout(this.#timer)
    if (this.isObserved) this.#timer = setTimeout(again, inMs)
  }
}
