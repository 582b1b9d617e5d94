// Intervals of reads and of new attempts, in milliseconds.

export const FIRST_READ_MS = 3_000 // The first read waits for the join, but not longer.
export const GAP_READ_MS = 1_000 // A known gap is read after this: the missing event may still arrive.
export const END_TIMEOUT_MS = 5_000 // A received end is emitted after this, even if the gap before it is not read.
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
 * Return what a promise resolves to; reject once a signal is aborted, if there is one. A function that returns a token
 * may never return.
 * @template T
 * @param {PromiseLike<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export const within = (promise, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    signal?.addEventListener('abort', () => reject(signal.reason))
    promise.then(resolve, reject)
  })
