// Parts of the client whose modules are loaded when they are first used.
import { imported, joinedLater, untilLoaded } from './polling.js'
import { IDLE, Store } from './store.js'

/** @import { BatchWatch } from './batch.js' */
/** @import { Feed } from './feed.js' */
/** @import { Notifications } from './notifications.js' */
/** @import { SmeltClient } from './client.js' */
/** @import { Transport } from './smelt.d.ts' */

const START = { connection: IDLE, error: null }

/** @typedef {(options?: any) => AsyncGenerator<any, void, undefined>} Iterate */
/** @typedef {{ requestUpdate: () => void, changeUser: () => void, watch: Iterate }} Watchable */

/**
 * A store with the state of another one.
 * @template {Store<any, any> & Watchable} Inner
 * @extends {Store<Inner['view'], any>}
 */
class Lazy extends Store {
  #load
  /** @type {Promise<Inner> | undefined} */
  #inner
  #end = () => {}

  /** @param {Inner['view']} view @param {(view: Inner['view']) => Promise<Inner>} load */
  constructor(view, load) {
    super(view)
    this.#load = () => load(view)
  }

  /** Return the other store, loaded once; after an error it is loaded again by the next call. */
  inner() {
    return (this.#inner ??= this.#load().catch((error) => {
      this.#inner = undefined
      throw error
    }))
  }

  start() {
    this.#end()
    this.#end = untilLoaded(
      () => this.inner(),
      (inner) => {
        this.failure = null
        this.#end = inner.observe({
          change: () => this.set(inner.view),
          next: (item) => this.emit(item),
          error: (error) => this.fail(error),
        })
        this.set(inner.view)
      },
      (error) => this.set({ ...this.view, connection: { ...this.view.connection, status: 'polling', error } }),
    )
  }

  stop() {
    this.#end()
  }

  /** Show nothing of the former user. */
  changeUser() {
    this.set(this.getServerSnapshot())
    this.#inner?.then((inner) => inner.changeUser(), () => {})
  }

  /** Read the state as soon as possible. */
  async requestUpdate() {
    ;(await this.inner()).requestUpdate()
  }

  /** @param {{ signal?: AbortSignal }} [options] @returns {AsyncGenerator<any, void, undefined>} */
  async *watch(options) {
    const end = this.observe({})
    try {
      yield* (await this.inner()).watch(options)
    } finally {
      end()
    }
  }
}

/** @extends {Lazy<Feed>} */
export class LazyFeed extends Lazy {
  /** @param {SmeltClient} client */
  constructor(client) {
    super({ smelts: [], files: [], counts: {}, isLoaded: false, ...START }, async (view) => {
      return new (await imported(import('./feed.js'))).Feed(client, view)
    })
  }
}

/** @extends {Lazy<Notifications>} */
export class LazyNotifications extends Lazy {
  /** @param {SmeltClient} client */
  constructor(client) {
    super({ notifications: [], unreadCount: 0, isLoaded: false, ...START }, async (view) => {
      return new (await imported(import('./notifications.js'))).Notifications(client, view)
    })
  }

  /** @param {{ unread?: boolean, limit?: number, signal?: AbortSignal }} [options] */
  async list(options) {
    return (await this.inner()).list(options)
  }

  async unreadCount() {
    return (await this.inner()).unreadCount()
  }

  /** @param {readonly string[]} ids */
  async seen(ids) {
    return (await this.inner()).seen(ids)
  }

  /** @param {readonly string[]} ids */
  async read(ids) {
    return (await this.inner()).read(ids)
  }
}

/** @extends {Lazy<BatchWatch>} */
export class LazyBatch extends Lazy {
  /** @param {SmeltClient} client @param {string} id */
  constructor(client, id) {
    super({ id, batch: null, ...START }, async (view) => {
      return new (await imported(import('./batch.js'))).BatchWatch(client, view)
    })
    this.id = id
  }

  /** @param {import('./smelt.d.ts').CallOptions} [options] */
  async get(options) {
    return (await this.inner()).get(options)
  }
}

/**
 * Return the transport of a gateway.
 * @param {any} options
 * @returns {Transport}
 */
export function lazyTransport(options) {
  /** @type {Transport | undefined} */
  let inner
  const loaded = async () => {
    const { gatewayTransport } = await imported(import('./transport-gateway.js'))
    return (inner ??= gatewayTransport(options))
  }
  const lazily =
    (/** @type {'call' | 'account' | 'upload'} */ name) =>
    async (/** @type {any[]} */ ...args) =>
      /** @type {any} */ (await loaded())[name](...args)
  return {
    call: lazily('call'),
    account: lazily('account'),
    upload: lazily('upload'),
    join: (topic, handlers) => joinedLater(loaded, (transport) => transport.join(topic, handlers), handlers),
  }
}
