// A state that is read after each join of its channel, after events that are incomplete, and from time to time.
import { asSmeltError } from './errors.js'
import { CALL_TIMEOUT_MS, FIRST_READ_MS, pollInMs, retryInMs, within } from './polling.js'
import { Store } from './store.js'

/** @import { Account, ConnectionView, Joined, JoinHandlers } from './smelt.d.ts' */
/** @import { SmeltClient } from './client.js' */
/** @import { SmeltError } from './errors.js' */

const MAX_UNAUTHORIZED = 3

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
  #opening = 0 // The generation whose channel is being opened.
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

  /** Read the state. @returns {Promise<any>} */
  async load() {
    throw new Error('not implemented')
  }

  /** Merge a state that was read. @param {any} _read */
  merge(_read) {
    throw new Error('not implemented')
  }

  get isJoined() {
    return this.#channel?.joined ?? false
  }

  /** True while the state changes only with an event: it is not read from time to time. */
  get isSettled() {
    return false
  }

  /** True if a read will begin later than those that are running. */
  get isRequested() {
    return this.#isRequested
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

  /** Show nothing of the former user, and start again. */
  changeUser() {
    this.stop()
    this.set(this.getServerSnapshot())
    if (this.isStarted) this.start()
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
    this.#opening = generation
    try {
      const { topic, handlers } = await within(this.channel(), undefined, CALL_TIMEOUT_MS)
      if (generation !== this.#generation) return
      this.#plan(FIRST_READ_MS)
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
          this.planRead()
        },
      })
    } catch (error) {
      if (generation === this.#generation) this.#onError(asSmeltError(error))
    } finally {
      if (this.#opening === generation) this.#opening = 0
    }
  }

  /** @param {number} generation */
  async #run(generation) {
    if (this.#isReading) return
    this.#isReading = true
    while (this.#isRequested && generation === this.#generation) {
      this.#isRequested = false
      try {
        const read = await this.load()
        if (generation === this.#generation) this.merge(read)
        if (generation !== this.#generation) break // Also by the merge.
        this.#failures = 0
        if (this.view.error) this.set({ ...this.view, error: null })
        this.planRead()
      } catch (error) {
        if (generation === this.#generation) this.#onError(asSmeltError(error))
      }
    }
    this.#isReading = false
    if (this.#isRequested) this.#run(this.#generation)
  }

  /** @param {SmeltError} error */
  #onError(error) {
    this.#failures += 1
    // A token may have expired just now; the next call has a new one.
    if (error.transient && (error.status !== 401 || this.#failures < MAX_UNAUTHORIZED)) {
      this.setConnection({ error })
      this.#plan(retryInMs(this.#failures))
      return
    }
    this.stop()
    this.set({ ...this.view, error: { code: error.code, message: error.message } })
    this.fail(error)
  }

  /** Plan the next read, unless the state is settled. */
  planRead() {
    const joined = this.isJoined
    const eventAgeMs = performance.now() - this.eventAt
    if (this.isSettled && this.#channel) clearTimeout(this.#timer)
    else this.#plan((joined && this.liveReadMs) || pollInMs({ joined, eventAgeMs, underWay: true }))
  }

  /** @param {number} inMs */
  #plan(inMs) {
    clearTimeout(this.#timer)
    if (!this.isObserved) return
    this.#timer = setTimeout(() => {
      if (this.#channel || this.#opening) this.requestUpdate()
      else this.#open(this.#generation)
    }, inMs)
  }
}

/**
 * A state of the rows of the signed-in user.
 * @template {{ connection: ConnectionView, error: { code: string, message: string } | null }} View, Item
 * @extends {Live<View, Item>}
 */
export class UserLive extends Live {
  userId = ''

  /** Return the id of the signed-in user; show and know nothing of a former one. */
  async signedIn() {
    const userId = await (await this.client.transport.account()).userId()
    if (userId !== this.userId) {
      this.userId = userId
      this.clear()
      this.set({ ...this.getServerSnapshot(), connection: this.view.connection })
    }
    return userId
  }

  /** Forget the rows of the former user. */
  clear() {}

  async load() {
    const former = this.userId
    const isChanged = (await this.signedIn()) !== former && former !== ''
    return isChanged ? null : this.loadRows(await this.client.transport.account())
  }

  /** @param {any} read null if another user has signed in */
  merge(read) {
    if (read) this.mergeRows(read)
    else this.changeUser()
  }

  /** Read the rows. @param {Account} _account @returns {Promise<any>} */
  async loadRows(_account) {
    throw new Error('not implemented')
  }

  /** Merge rows that were read. @param {any} _rows */
  mergeRows(_rows) {
    throw new Error('not implemented')
  }
}
