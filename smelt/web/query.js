// TanStack Query: invalidation by live changes, and polling by their freshness.
import { pollInMs, sleep } from './polling.js'

/** @import { Feed, SmeltClient } from './smelt.d.ts' */
/** @import { Invalidates } from './query.d.ts' */

const FAMILIES = ['smelts', 'smelt', 'smelt-counts']
const SPACING_MS = 1_000 // Between two invalidations of one key: frequent changes do not refetch without a pause.
const JITTER = Math.random() // Constant: a query restarts its timer whenever a render gets another interval.

/** The feeds of the active invalidators, with the time of the last event by family. @type {Map<object, { feed: Feed, eventAt: Map<unknown, number> }>} */
const sources = new Map()

/** @type {WeakMap<Invalidates, (client: SmeltClient) => () => void>} */
const invalidators = new WeakMap()

/**
 * Return a function that, called with a client of `connectSmelt`, observes the client's feed and invalidates the cache
 * entries `['smelts']`, `['smelt', id]` and `['smelt-counts']`, with all that begin so, when rows of the signed-in user
 * change; it returns a function that ends this. The same query client has always the same one, as effects need it.
 * @param {Invalidates} queryClient
 * @returns {(client: SmeltClient) => () => void}
 */
export function smeltQueryInvalidator(queryClient) {
  let invalidator = invalidators.get(queryClient)
  if (!invalidator) {
    invalidator = ({ feed }) => invalidateBy(feed, new Invalidator(queryClient))
    invalidators.set(queryClient, invalidator)
  }
  return invalidator
}

/**
 * Return a `refetchInterval` for a query: 30 s while the feed is joined and its family of keys had an event in the last
 * 30 s, 10 to 15 s if it had none while a smelt is under way, 5 s while the feed is not joined.
 * @param {readonly unknown[]} key that begins with `'smelts'`, `'smelt'` or `'smelt-counts'`
 */
export function smartPolling(key) {
  return () => {
    const intervals = [...sources.values()].map(({ feed, eventAt }) => {
      const eventAgeMs = performance.now() - (eventAt.get(key[0]) ?? -Infinity)
      return pollInMs({
        joined: isJoined(feed),
        eventAgeMs,
        underWay: feed.getSnapshot().smelts.some(isUnderWay),
        jitter: JITTER,
      })
    })
    return intervals.length ? Math.min(...intervals) : pollInMs({ joined: false, eventAgeMs: 0, underWay: false })
  }
}

/** @param {Feed} feed @param {Invalidator} invalidator */
function invalidateBy(feed, invalidator) {
  const eventAt = new Map()
  let joined = isJoined(feed)
  const end = feed.observe({
    change: () => {
      const before = joined
      joined = isJoined(feed)
      if (joined && !before) for (const family of FAMILIES) eventAt.set(family, performance.now())
      // The refetch also gives each query its shorter interval.
      if (before && !joined) for (const family of FAMILIES) invalidator.invalidate([family])
    },
    next: ({ keys }) => {
      for (const key of keys) {
        eventAt.set(key[0], performance.now())
        invalidator.invalidate(key)
      }
    },
  })
  sources.set(invalidator, { feed, eventAt })
  return () => {
    sources.delete(invalidator)
    invalidator.end()
    end()
  }
}

/** @param {Feed} feed */
const isJoined = (feed) => feed.getSnapshot().connection.status === 'live'

/** @param {{ status: string }} smelt */
const isUnderWay = ({ status }) => !['pending', 'completed', 'failed'].includes(status)

/** Invalidates each key at most once a second, and not before its previous refetch has ended, which would be cancelled. */
class Invalidator {
  /** @type {Map<string, boolean>} true if the key is to be invalidated again */
  #running = new Map()
  #isEnded = false

  /** @param {Invalidates} queryClient */
  constructor(queryClient) {
    this.queryClient = queryClient
  }

  /** @param {readonly unknown[]} queryKey */
  async invalidate(queryKey) {
    const name = JSON.stringify(queryKey)
    if (this.#running.has(name)) {
      this.#running.set(name, true)
      return
    }
    do {
      this.#running.set(name, false)
      // A refetch that fails is an error of its query.
      await Promise.allSettled([this.queryClient.invalidateQueries({ queryKey }), sleep(SPACING_MS)])
    } while (this.#running.get(name) && !this.#isEnded)
    this.#running.delete(name)
  }

  end() {
    this.#isEnded = true
  }
}
