// Observable state: `subscribe` and `getSnapshot` are those of React's useSyncExternalStore.

/** The connection of a state that nobody observes. @type {import('./smelt.d.ts').ConnectionView} */
export const IDLE = { status: 'idle', worker: null, error: null }

/**
 * Call a function of the app; report its exception as uncaught.
 * @param {() => void} callback
 */
export function guarded(callback) {
  try {
    callback()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/**
 * A state that is kept up to date while it is observed.
 * @template View, Item
 */
export class Store {
  /** @type {Set<{ change?: () => void, next?: (item: Item) => void, error?: (error: Error) => void }>} */
  #observers = new Set()
  isStarted = false
  /** The error that ended the updates. @type {Error | null} */
  failure = null

  /** @param {View} view */
  constructor(view) {
    this.view = view
    /** Return the state before any change: the one that a server renders. */
    this.getServerSnapshot = () => view
  }

  /** Return the current state: the same object until it changes. */
  getSnapshot = () => this.view

  /**
   * Call a function after each change of the state; return a function that ends it.
   * @param {() => void} listener
   */
  subscribe = (listener) => this.observe({ change: listener })

  /**
   * Observe changes, items and errors; return a function that ends it, after which nothing is called. A state whose
   * updates were ended by an error is started again.
   * @param {{ change?: () => void, next?: (item: Item) => void, error?: (error: Error) => void }} observer
   */
  observe(observer) {
    const own = { ...observer }
    this.#observers.add(own)
    if (!this.isStarted || this.failure) {
      this.isStarted = true
      this.start()
    }
    return () => {
      this.#observers.delete(own)
      // React unmounts and mounts again at once in StrictMode: the channel stays joined meanwhile.
      setTimeout(() => this.#stopUnobserved())
    }
  }

  /**
   * Iterate over items until `isLast` returns true for one; throw an error that ends them, or the reason of an abort.
   * @param {object} options
   * @param {AbortSignal} [options.signal]
   * @param {() => Item[]} [options.replay] the items that come first
   * @param {(item: Item) => boolean} [options.accept]
   * @param {(item: Item) => boolean} [options.isLast]
   * @returns {AsyncGenerator<Item, void, undefined>}
   */
  async *iterate({ signal, replay = () => [], accept = () => true, isLast = () => false }) {
    signal?.throwIfAborted()
    /** @type {Item[]} */
    let queue = replay().filter(accept)
    /** @type {unknown} */
    let failure
    let wake = () => {}
    const fail = (/** @type {unknown} */ error) => {
      failure ??= error
      wake()
    }
    const onAbort = () => fail(signal?.reason)
    signal?.addEventListener('abort', onAbort)
    const end = this.observe({
      next: (item) => {
        if (accept(item)) queue = this.enqueue(queue, item)
        wake()
      },
      error: fail,
    })
    failure ??= this.failure ?? undefined
    try {
      for (;;) {
        const item = queue[0]
        if (item !== undefined && !signal?.aborted) {
          queue = queue.slice(1)
          yield item
          if (isLast(item)) return
          continue
        }
        if (failure !== undefined) throw failure
        await new Promise((resolve) => {
          wake = () => resolve(undefined)
        })
      }
    } finally {
      end()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /**
   * Return the items that a slow consumer has not taken, with another one.
   * @param {Item[]} queue
   * @param {Item} item
   */
  enqueue(queue, item) {
    return [...queue, item]
  }

  get isObserved() {
    return this.#observers.size > 0
  }

  /** Begin to keep the state up to date. */
  start() {}

  /** Stop, since nobody observes the state any longer. */
  stop() {}

  /** @param {View} view */
  set(view) {
    this.view = view
    for (const observer of [...this.#observers]) this.#call(observer, () => observer.change?.())
  }

  /** @param {Item} item */
  emit(item) {
    for (const observer of [...this.#observers]) this.#call(observer, () => observer.next?.(item))
  }

  /** @param {Error} error */
  fail(error) {
    this.failure = error
    for (const observer of [...this.#observers]) this.#call(observer, () => observer.error?.(error))
  }

  /**
   * Call an observer, unless an earlier one has ended it; its exceptions do not affect the others.
   * @param {object} observer
   * @param {() => void} callback
   */
  #call(observer, callback) {
    if (!this.#observers.has(observer)) return
    guarded(callback)
  }

  #stopUnobserved() {
    if (this.#observers.size || !this.isStarted) return
    this.isStarted = false
    this.stop()
  }
}
