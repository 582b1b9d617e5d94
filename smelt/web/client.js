// The client of an app: creates smelts, and shares connections and reads between all that watch.
import { SmeltError, SmeltFailed } from './errors.js'
import { LazyBatch, LazyFeed, LazyNotifications, lazyTransport } from './lazy.js'
import { imported, onWake } from './polling.js'
import { Reader } from './reader.js'
import { Store } from './store.js'
import { SupabaseTransport } from './transport-supabase.js'
import { Watch } from './watch.js'

/** @import { CompletedUpdate, ConnectionState, CreateRequest, Joined } from './smelt.d.ts' */
/** @import { GatewayOptions, JoinHandlers, ListOptions, ReadOnlyOptions, SmeltUpdate, Transport, WatchOptions } from './smelt.d.ts' */
/** @import { FileRow, Snapshot, SmeltRow } from './contract.d.ts' */

/** @type {WeakMap<object, SmeltClient>} */
const clients = new WeakMap()

/**
 * Return the client of a supabase-js client, always the same, or one with another transport, or a new one of a gateway.
 * @param {{ supabase?: any, transport?: Transport, domEvents?: boolean } & Partial<GatewayOptions & ReadOnlyOptions>} options
 * @returns {SmeltClient}
 */
export function connectSmelt(options) {
  const { supabase, transport, domEvents } = options
  const key = transport ?? supabase ?? options
  let client = clients.get(key)
  if (!client) {
    client = new SmeltClient(transport ?? (supabase ? new SupabaseTransport(supabase) : lazyTransport(options)))
    clients.set(key, client)
  }
  if (domEvents) client.domEvents = true
  return client
}

export class SmeltClient {
  domEvents = false
  /** @type {Map<string, WeakRef<Watch | LazyBatch>>} */
  #stores = new Map()
  /** @type {Set<{ joined: boolean, error: SmeltError | null }>} */
  #channels = new Set()
  /** @type {Set<() => void>} */
  #wakers = new Set()
  /** @type {(() => void) | null} */
  #stopWaking = null
  /** @type {FinalizationRegistry<string>} */
  #collected = new FinalizationRegistry((key) => this.#stores.get(key)?.deref() ?? this.#stores.delete(key))
  #followsUser = false

  /** @param {Transport} transport */
  constructor(transport) {
    this.transport = transport
    this.reader = new Reader(transport)
    this.notifications = new LazyNotifications(this)
    this.feed = new LazyFeed(this)
    /** The state of all live channels together. @type {Store<ConnectionState, never>} */
    this.connection = new Store({ isConnected: false, isConnecting: false, error: null })
    this.#wakers.add(() => this.reader.wake())
  }

  /**
   * Create a smelt: announce its files, upload them, and submit it. Throws the first error.
   * @param {CreateRequest} request
   */
  async create(request) {
    const { createSmelt } = await imported(import('./upload.js'))
    const created = await createSmelt(this.transport, request)
    const job = new SmeltJob(this, created.id)
    job.store.setFiles(created.files)
    return job
  }

  /** Return a smelt by its id, without a call. @param {string} id */
  job(id) {
    return new SmeltJob(this, id)
  }

  /**
   * Return the current state with the transcript.
   * @param {string} id
   * @param {{ signal?: AbortSignal, withWords?: boolean }} [options]
   * @returns {Promise<Snapshot>}
   */
  get(id, { signal, withWords } = {}) {
    return this.transport.call('get_smelt', { smelt_id: id, ...(withWords && { with_words: true }) }, { signal })
  }

  /**
   * Return the newest smelts of the signed-in user, each with its files.
   * @param {ListOptions} [options]
   * @returns {Promise<(SmeltRow & { files: FileRow[] })[]>}
   */
  async list(options) {
    const { listSmelts } = await imported(import('./list.js'))
    return listSmelts(this.transport, options)
  }

  /** Cancel a smelt: it fails with the code `cancelled`. @param {string} id @returns {Promise<Snapshot>} */
  cancel(id) {
    return this.#change('cancel_smelt', id)
  }

  /**
   * Start the next run of a failed or partial smelt; finished transcripts are kept.
   * @param {string} id
   * @returns {Promise<Snapshot>}
   */
  retry(id) {
    return this.#change('retry_smelt', id)
  }

  /** Delete a smelt with its files, transcripts and results. @param {string} id @returns {Promise<void>} */
  async delete(id) {
    await this.transport.call('delete_smelt', { smelt_id: id })
    this.#known(id)?.end(new SmeltError('not_found', 'The smelt was deleted.', { status: 404 }))
  }

  /** Create a batch of the signed-in user. @param {string} [title] @returns {Promise<LazyBatch>} */
  async createBatch(title) {
    await (await this.transport.account()).userId()
    return this.batch((await this.transport.call('create_smelt_batch', { title })).id)
  }

  /** Return a batch by its id, without a call. @param {string} id @returns {LazyBatch} */
  batch(id) {
    id = id.toLowerCase()
    return /** @type {LazyBatch} */ (this.#store(`batch:${id}`, () => new LazyBatch(this, id)))
  }

  /** Return the shared state of a smelt. @param {string} id @returns {Watch} */
  store(id) {
    id = id.toLowerCase()
    return /** @type {Watch} */ (this.#store(id, () => new Watch(this, id)))
  }

  /** Return the state of the connection, of reads and of all watches. */
  diagnostics() {
    const watches = this.#all().filter((store) => store instanceof Watch && store.isObserved)
    return {
      ...this.connection.view,
      channels: this.#channels.size,
      reads: this.reader.readCount,
      readFailures: this.reader.failures,
      watches: watches.map((store) => /** @type {Watch} */ (store).report()),
    }
  }

  /**
   * Join a channel, and include it in the state of the connection.
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @returns {Joined}
   */
  join(topic, handlers) {
    if (!this.#followsUser) {
      this.#followsUser = true
      this.transport.onUserChange?.(() => this.#changeUser())
    }
    const entry = { joined: false, error: /** @type {SmeltError | null} */ (null) }
    this.#channels.add(entry)
    const set = (/** @type {boolean} */ joined, error = /** @type {SmeltError | null} */ (null)) => {
      Object.assign(entry, { joined, error })
      this.#showConnection()
    }
    const channel = this.transport.join(topic, {
      ...handlers,
      onMessage: (event, payload) => {
        handlers.onMessage?.(event, payload)
        this.dispatch(topic, event, payload)
      },
      onChange: (change) => {
        handlers.onChange?.(change)
        this.dispatch(topic, change.eventType, change.new)
      },
      onJoined: () => {
        set(true)
        handlers.onJoined()
      },
      onLeft: (error) => {
        set(false, error)
        handlers.onLeft(error)
      },
    })
    this.#showConnection()
    const leave = () => {
      this.#channels.delete(entry)
      this.#showConnection()
      return channel.leave()
    }
    return {
      get joined() {
        return channel.joined
      },
      leave,
    }
  }

  /** Call a function when the page becomes visible or is online again. @param {() => void} listener */
  onWake(listener) {
    this.#wakers.add(listener)
    return () => {
      this.#wakers.delete(listener)
    }
  }

  /**
   * Dispatch an event on the window, if `domEvents` is set.
   * @param {string} topic
   * @param {string} event
   * @param {unknown} payload
   */
  dispatch(topic, event, payload) {
    if (this.domEvents && typeof window !== 'undefined') {
      window.dispatchEvent(new CustomEvent('smelt:update', { detail: { topic, event, payload } }))
    }
  }

  #showConnection() {
    const channels = [...this.#channels]
    if (channels.length === 0) {
      this.#stopWaking?.()
      this.#stopWaking = null
    } else this.#stopWaking ??= onWake(() => this.#wakers.forEach((wake) => wake()))
    const isConnected = channels.length > 0 && channels.every(({ joined }) => joined)
    const error = channels.find(({ error }) => error)?.error?.message ?? null
    const view = { isConnected, isConnecting: channels.length > 0 && !isConnected, error }
    if (JSON.stringify(view) !== JSON.stringify(this.connection.view)) this.connection.set(view)
  }

  /** @param {string} name @param {string} id */
  async #change(name, id) {
    const snapshot = await this.transport.call(name, { smelt_id: id })
    this.#known(id)?.mergeRead(snapshot, Infinity) // The response may lack segments that were not read yet.
    return snapshot
  }

  #changeUser() {
    this.reader.users += 1
    for (const store of [...this.#all(), this.feed, this.notifications]) store?.changeUser()
  }

  #all() {
    return [...this.#stores.values()].map((ref) => ref.deref())
  }

  /** @param {string} id */
  #known(id) {
    return /** @type {Watch | undefined} */ (this.#stores.get(id.toLowerCase())?.deref())
  }

  /** @param {string} key @param {() => Watch | LazyBatch} make */
  #store(key, make) {
    const present = this.#stores.get(key)?.deref()
    if (present) return present
    const store = make()
    this.#stores.set(key, new WeakRef(store))
    this.#collected.register(store, key)
    return store
  }
}

/** One smelt of the app. */
export class SmeltJob {
  /** @type {Promise<CompletedUpdate> | null} */
  #done = null
  #restarts = 0

  /** @param {SmeltClient} client @param {string} id */
  constructor(client, id) {
    this.client = client
    this.store = client.store(id)
    this.id = this.store.id
    this.subscribe = this.store.subscribe
    this.getSnapshot = this.store.getSnapshot
    this.getServerSnapshot = this.store.getServerSnapshot
  }

  get files() {
    return this.store.view.files
  }

  get subscription_channel() {
    return `smelt:${this.id}`
  }

  /**
   * Iterate over updates from the current state to `completed` or `failed`; throw an error that would occur again, such
   * as `not_found`, and the reason of an abort.
   * @param {WatchOptions} [options]
   * @returns {AsyncGenerator<any, void, undefined>} of updates; the declarations exclude connection events
   */
  watch({ signal, connectionEvents = false } = {}) {
    return this.store.iterate({
      signal,
      replay: () => this.store.replay(),
      accept: (update) => connectionEvents || update.type !== 'connection',
      isLast: (update) => 'completed_at' in update,
    })
  }

  /** The end of a completed smelt; rejects with `SmeltFailed`, or the error that ended the watch. */
  get done() {
    if (this.#restarts !== this.store.restarts) this.#done = null
    this.#restarts = this.store.restarts
    return (this.#done ??= this.#end().catch((error) => {
      if (!(error instanceof SmeltFailed)) this.#done = null // A later call may succeed, after a sign-in.
      throw error
    }))
  }

  /** Read the state as soon as possible. */
  requestUpdate() {
    return this.store.requestUpdate()
  }

  /** @param {{ signal?: AbortSignal, withWords?: boolean }} [options] */
  get(options) {
    return this.client.get(this.id, options)
  }

  cancel() {
    return this.client.cancel(this.id)
  }

  retry() {
    return this.client.retry(this.id)
  }

  delete() {
    return this.client.delete(this.id)
  }

  /** @returns {Promise<CompletedUpdate>} */
  async #end() {
    let end
    for await (end of this.watch());
    if (end.type === 'failed') throw new SmeltFailed(end)
    return end
  }
}
