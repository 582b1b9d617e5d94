// Parts of the client whose modules are loaded when they are first used.
import { Store } from './store.js'

/** @import { ConnectionView } from './smelt.d.ts' */
/** @import { BatchWatch } from './batch.js' */
/** @import { Feed } from './feed.js' */
/** @import { Notifications } from './notifications.js' */
/** @import { SmeltClient } from './client.js' */

/** @type {{ connection: ConnectionView, error: null }} */
const IDLE = { connection: { status: 'idle', worker: null, error: null }, error: null }

/** @typedef {{ requestUpdate: () => void, watch: (options?: any) => AsyncGenerator<any, void, undefined> }} Watchable */

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
  #generation = 0

  /** @param {Inner['view']} view @param {() => Promise<Inner>} load */
  constructor(view, load) {
    super(view)
    this.#load = load
  }

  /** Return the other store, loaded once; after an error it is loaded again by the next call. */
  inner() {
    return (this.#inner ??= this.#load().catch((error) => {
      this.#inner = undefined
      throw error
    }))
  }

  start() {
    const generation = (this.#generation += 1)
    this.inner().then(
      (inner) => {
        if (generation !== this.#generation) return
        this.failure = null
        this.#end = inner.observe({
          change: () => this.set(inner.view),
          next: (item) => this.emit(item),
          error: (error) => this.fail(error),
        })
        this.set(inner.view)
      },
      (error) => this.fail(error),
    )
  }

  stop() {
    this.#generation += 1
    this.#end()
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
    super(
      { smelts: [], files: [], counts: {}, isLoaded: false, ...IDLE },
      async () => new (await import('./feed.js')).Feed(client),
    )
  }
}

/** @extends {Lazy<Notifications>} */
export class LazyNotifications extends Lazy {
  /** @param {SmeltClient} client */
  constructor(client) {
    const load = async () => new (await import('./notifications.js')).Notifications(client)
    super({ notifications: [], unreadCount: 0, isLoaded: false, ...IDLE }, load)
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
    super({ id, batch: null, ...IDLE }, async () => new (await import('./batch.js')).BatchWatch(client, id))
    this.id = id
  }

  /** @param {import('./smelt.d.ts').CallOptions} [options] */
  async get(options) {
    return (await this.inner()).get(options)
  }
}
