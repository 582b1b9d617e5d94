// Reads of the states of all watched smelts, combined into as few calls as possible.
import { asSmeltError, SmeltError } from './errors.js'
import { retryInMs } from './polling.js'

/** @import { Transport } from './smelt.d.ts' */
/** @import { Watch } from './watch.js' */

const SMELTS_PER_CALL = 200
// A half-open connection of the browser's pool is soon replaced, and a large transcript on a slow network has time in a
// later try: 4 s after less than two failures, twice as long after two more, at most 32 s.
const CALL_TIMEOUT_MS = 4_000
const GATHER_MS = 2_000
const SPACING_MS = 1_000
const URGENT_SPACING_MS = 100

/** Reads the state for each watch when it is due, one call at a time. */
export class Reader {
  readCount = 0
  failures = 0
  /** The number of changes of the user: what was requested before one is not merged after it. */
  users = 0
  /** @type {Map<Watch, number>} */
  #dueAt = new Map()
  /** @type {Map<Watch, (() => void)[]>} */
  #urgent = new Map()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #isReading = false
  #lastAt = -Infinity
  #retryAt = 0
  // Long transcripts together may take longer than a call may: half as many after a failure, twice as many after a
  // success.
  #size = SMELTS_PER_CALL

  /** @param {Transport} transport */
  constructor(transport) {
    this.transport = transport
  }

  /**
   * Add a watch, or plan its next read.
   * @param {Watch} watch
   * @param {number} inMs
   */
  plan(watch, inMs) {
    this.#dueAt.set(watch, performance.now() + inMs)
    this.#schedule()
  }

  /**
   * Read for a watch sooner than planned, if its interval has become shorter.
   * @param {Watch} watch
   */
  reschedule(watch) {
    const planned = this.#dueAt.get(watch)
    if (planned !== undefined) this.plan(watch, Math.min(planned - performance.now(), watch.nextReadMs()))
  }

  /**
   * Read for a watch as soon as possible; the promise resolves after a read that began later than this call.
   * @param {Watch} watch
   * @returns {Promise<void>}
   */
  request(watch) {
    if (!this.#dueAt.has(watch)) this.#dueAt.set(watch, Infinity)
    const done = new Promise((resolve) =>
      this.#urgent.set(watch, [...(this.#urgent.get(watch) ?? []), () => resolve(undefined)]),
    )
    this.#schedule()
    return done
  }

  /** Read for all watches at once. */
  wake() {
    this.#retryAt = 0
    for (const watch of this.#dueAt.keys()) this.request(watch)
  }

  /** @param {Watch} watch */
  remove(watch) {
    this.#dueAt.delete(watch)
    this.#urgent.get(watch)?.forEach((resolve) => resolve())
    this.#urgent.delete(watch)
    this.#schedule()
  }

  #schedule() {
    clearTimeout(this.#timer)
    if (this.#isReading || !this.#dueAt.size) return
    const at = this.#urgent.size
      ? Math.max(this.#retryAt, this.#lastAt + URGENT_SPACING_MS)
      : Math.max(Math.min(...this.#dueAt.values()), this.#lastAt + SPACING_MS)
    if (at < Infinity) this.#timer = setTimeout(() => this.#read(), at - performance.now())
  }

  async #read() {
    const soon = performance.now() + GATHER_MS
    const due = [...this.#dueAt].filter(([, at]) => at <= soon).map(([watch]) => watch)
    const batch = [...new Set([...this.#urgent.keys(), ...due])].slice(0, this.#size)
    const requested = batch.map((watch) => watch.known)
    const waiting = batch.flatMap((watch) => this.#urgent.get(watch) ?? [])
    for (const watch of batch) this.#urgent.delete(watch)
    this.#isReading = true
    this.#lastAt = performance.now()
    this.readCount += 1
    const { users } = this
    const timeoutMs = CALL_TIMEOUT_MS << Math.min(this.failures >> 1, 3)
    try {
      const { smelts } = await this.transport.call('get_smelts', { smelts: requested }, { timeoutMs })
      this.failures = 0
      this.#size = Math.min(2 * this.#size, SMELTS_PER_CALL)
      const byId = new Map(smelts.map((/** @type {{ id: string }} */ state) => [state.id, state]))
      if (users === this.users) batch.forEach((watch, n) => this.#distribute(watch, byId.get(watch.id), requested[n].segments_after))
    } catch (error) {
      this.#retry(batch, asSmeltError(error))
    }
    this.#isReading = false
    waiting.forEach((resolve) => resolve())
    this.#schedule()
  }

  /**
   * @param {Watch} watch
   * @param {any} state
   * @param {number} segmentsAfter
   */
  #distribute(watch, state, segmentsAfter) {
    if (!this.#dueAt.has(watch)) return
    if (!state) {
      watch.end(new SmeltError('not_found', 'The smelt does not exist, or belongs to another user.', { status: 404 }))
      return
    }
    watch.mergeRead(state, segmentsAfter)
    if (this.#dueAt.has(watch)) this.#dueAt.set(watch, performance.now() + watch.nextReadMs())
  }

  /**
   * @param {Watch[]} batch
   * @param {SmeltError} error
   */
  #retry(batch, error) {
    this.failures += 1
    this.#size = Math.max(this.#size / 2, 1)
    this.#retryAt = performance.now() + SPACING_MS + retryInMs(this.failures)
    for (const watch of batch) {
      if (!this.#dueAt.has(watch)) continue
      this.#dueAt.set(watch, this.#retryAt)
      if (error.transient) watch.reportIssue(error)
      else watch.end(error)
    }
  }
}
