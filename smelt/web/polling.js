// Intervals of reads and of new attempts, in milliseconds, and the limits of what is awaited.
import { lost } from './errors.js'

/** @import { SmeltError } from './errors.js' */
/** @import { Joined, JoinHandlers } from './smelt.d.ts' */

export const FIRST_READ_MS = 3_000 // The first read waits for the join, but not longer.
export const GAP_READ_MS = 1_000 // A known gap is read after this: the missing event may still arrive.
export const END_TIMEOUT_MS = 5_000 // A received end is emitted after this, even if the gap before it is not read.
export const CALL_TIMEOUT_MS = 30_000
const FRESH_FOR_MS = 30_000
const MAX_DELAY_MS = 30_000
const HIDDEN_MS = 60_000

/** Return true if the page is in the background. */
export const isHidden = () => typeof document !== 'undefined' && document.visibilityState === 'hidden'

/**
 * Return the delay of the next read: 30 s with recent events, 10 to 15 s without any for 30 s while something is under
 * way, 5 s while not joined; at least 60 s in a hidden page.
 * @param {{ joined: boolean, eventAgeMs: number, underWay: boolean, nextPollS?: number | null, jitter?: number }} given
 *   `jitter`: from 0 to 1
 */
export function pollInMs({ joined, eventAgeMs, underWay, nextPollS, jitter = Math.random() }) {
  const base = !joined ? 5_000 : eventAgeMs < FRESH_FOR_MS || !underWay ? 30_000 : 10_000 + 5_000 * jitter
  const requested = Math.min((nextPollS ?? 0) * 1000, MAX_DELAY_MS)
  return Math.max(base, requested, isHidden() ? HIDDEN_MS : 0)
}

/**
 * Return the delay before an attempt after `failures` failed ones: exponential with jitter, at most 30 s.
 * @param {number} failures
 */
export const retryInMs = (failures) => Math.min(1000 * 2 ** (failures - 1), MAX_DELAY_MS) * (0.5 + Math.random() / 2)

/**
 * Call a function when the page becomes visible or the browser is online again; return a function that ends it.
 * @param {() => void} listener
 */
export function onWake(listener) {
  if (typeof document === 'undefined') return () => {}
  const onVisible = () => isHidden() || listener()
  document.addEventListener('visibilitychange', onVisible)
  globalThis.addEventListener('online', listener)
  return () => {
    document.removeEventListener('visibilitychange', onVisible)
    globalThis.removeEventListener('online', listener)
  }
}

/** @param {number} ms */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Return what a promise, or a function that takes a signal, resolves to. Once `signal` is aborted, reject with its
 * reason; after `timeoutMs`, with a transient `connection_lost`. Both abort the signal of the function.
 * @template T
 * @param {PromiseLike<T> | ((signal: AbortSignal) => PromiseLike<T>)} work
 * @param {AbortSignal} [signal]
 * @param {number} [timeoutMs]
 * @returns {Promise<T>}
 */
export async function within(work, signal, timeoutMs) {
  const limit = new AbortController()
  const onAbort = () => limit.abort(signal?.reason)
  const onTimeout = () => limit.abort(lost(`There was no response within ${Number(timeoutMs) / 1000} s.`))
  const timer = timeoutMs && setTimeout(onTimeout, timeoutMs)
  signal?.addEventListener('abort', onAbort)
  try {
    return await new Promise((resolve, reject) => {
      limit.signal.onabort = () => reject(limit.signal.reason)
      if (signal?.aborted) onAbort()
      Promise.resolve(typeof work === 'function' ? work(limit.signal) : work).then(resolve, reject)
    })
  } finally {
    clearTimeout(timer || undefined)
    signal?.removeEventListener('abort', onAbort)
  }
}

/**
 * Return a module that is imported; each call imports it again after an error, which is transient.
 * @template T
 * @param {Promise<T>} module
 */
export const imported = (module) =>
  within(module, undefined, CALL_TIMEOUT_MS).catch((cause) => {
    throw lost('A module of smelt-js could not be loaded: try again, or reload the page.', cause)
  })

/**
 * Load until it succeeds, and pass the result to a function; return a function that ends this.
 * @template T
 * @param {() => Promise<T>} load
 * @param {(loaded: T) => void} onLoaded
 * @param {(error: SmeltError) => void} onError
 */
export function untilLoaded(load, onLoaded, onError) {
  let failures = 0
  let isEnded = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  const attempt = () =>
    load().then(
      (loaded) => isEnded || onLoaded(loaded),
      (error) => {
        if (isEnded) return
        onError(error)
        timer = setTimeout(attempt, retryInMs((failures += 1)))
      },
    )
  attempt()
  return () => {
    isEnded = true
    clearTimeout(timer)
  }
}

/**
 * Join a channel once what it needs is loaded.
 * @template T
 * @param {() => Promise<T>} load
 * @param {(loaded: T) => Joined} join
 * @param {JoinHandlers} handlers
 * @returns {Joined}
 */
export function joinedLater(load, join, handlers) {
  /** @type {Joined | undefined} */
  let channel
  const end = untilLoaded(load, (loaded) => (channel = join(loaded)), handlers.onLeft)
  return {
    get joined() {
      return channel?.joined ?? false
    },
    leave: async () => {
      end()
      await channel?.leave()
    },
  }
}
