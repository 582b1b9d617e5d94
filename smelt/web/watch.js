// Watching one smelt through events and reads.
import { SmeltError } from './errors.js'
import { END_TIMEOUT_MS, FIRST_READ_MS, GAP_READ_MS, pollInMs } from './polling.js'
import { endingRun, initialState, known, merge, needsRead, pick } from './merge.js'
import { IDLE, Store } from './store.js'

/** @import { SmeltView, SmeltUpdate, ConnectionView, Joined } from './smelt.d.ts' */
/** @import { News, Update, EndUpdate, ProgressUpdate } from './smelt.d.ts' */
/** @import { CreatedFile, FileState, Snapshot, Unchanged } from './contract.d.ts' */
/** @import { SmeltClient } from './client.js' */
/** @typedef {{ files: readonly (CreatedFile | FileState)[], submitted_at?: string | null }} Details */

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/
const NO_WORKER = 'Waiting for a worker: none is running.'
const MISSING_MODEL = 'No worker has the model '
/** @type {Details} */
const NO_DETAILS = { files: [] }

/**
 * The state of one smelt, shared by all that observe it; items are its updates and, between them, connection events.
 * @extends {Store<SmeltView, SmeltUpdate>}
 */
export class Watch extends Store {
  #state
  /** @type {ConnectionView} */
  #connection = IDLE
  /** @type {Joined | null} */
  #channel = null
  /** What events do not have. @type {Details} */
  #details = NO_DETAILS
  /** @type {SmeltError | null} */
  #error = null
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #endTimer
  /** @type {number | null} */
  #endingRun = null
  /** @type {number | null} */
  #nextPollS = null
  /** The number of runs that began after an end. */
  restarts = 0
  #eventAt = -Infinity
  #readAt = -Infinity
  #isHidden = false // Another user has signed in; the next read shows if this user may see the state.

  /**
   * @param {SmeltClient} client
   * @param {string} id
   */
  constructor(client, id) {
    super(viewOf(initialState(id), NO_DETAILS, IDLE, null))
    this.client = client
    this.id = id
    this.#state = initialState(id)
  }

  /** Return the argument of `get_smelts` for what is missing here. */
  get known() {
    return known(this.#state)
  }

  get isEnded() {
    return !!this.#state.end || !!this.#error
  }

  start() {
    if (this.#state.end) return
    if (!UUID.test(this.id)) {
      // One invalid id would fail the read of all watches.
      queueMicrotask(() =>
        this.end(new SmeltError('not_found', `${this.id} is not the id of a smelt.`, { status: 404 })),
      )
      return
    }
    this.#error = this.failure = null // An error such as `not_found` may have ended: the user has signed in.
    this.#setConnection({ status: 'connecting' })
    this.#channel = this.client.join(`smelt:${this.id}`, {
      onMessage: (event, payload) => this.#onEvent(event, payload),
      onJoined: () => this.#onJoined(),
      onLeft: (error) => this.#onLeft(error),
    })
    this.client.reader.plan(this, FIRST_READ_MS)
  }

  stop() {
    clearTimeout(this.#endTimer)
    this.#endingRun = null
    this.client.reader.remove(this)
    this.#channel?.leave()
    this.#channel = null
    if (!this.isEnded) this.#setConnection(IDLE)
  }

  /** Set the files before the first read, so that their names can be shown. @param {readonly CreatedFile[]} files */
  setFiles(files) {
    if (!this.#details.files.length) this.#details = { files }
    this.#show()
  }

  /** Read the state as soon as possible. */
  async requestUpdate() {
    if (this.isObserved && !this.isEnded) await this.client.reader.request(this)
    else this.mergeRead(await this.client.get(this.id), 0)
  }

  /**
   * Merge a state that was read; after the end, also one of a newer run, and one with new names of speakers.
   * @param {Snapshot | Unchanged} read
   * @param {number} segmentsAfter
   */
  mergeRead(read, segmentsAfter) {
    this.#readAt = performance.now()
    this.#nextPollS = read.next_poll_s
    if ('files' in read) {
      const { end, run } = this.#state
      if (this.isEnded && read.run > run) this.#restart()
      // All that is read replaces an ended state: iterators have ended with it, and get nothing twice.
      else if (end && !segmentsAfter && read.seq >= end.seq) this.#state = initialState(this.id)
      const { files, completed_at, submitted_at } = read
      this.#details = completed_at ? { files, submitted_at } : { files }
    }
    if (this.#isHidden) {
      this.#isHidden = false
      this.#show()
    }
    this.#setConnection({
      error: null,
      ...(this.#connection.status === 'connecting' && !this.#isJoined && { status: 'polling' }),
    })
    this.#merge({ type: 'read', state: read, segments_after: segmentsAfter })
  }

  /** Report an error after which reads go on. @param {SmeltError} error */
  reportIssue(error) {
    this.#setConnection({ error, status: this.#isJoined ? 'live' : 'polling' }, true)
  }

  /** End the watch with an error that would occur again, such as `not_found`. @param {SmeltError} error */
  end(error) {
    this.#error = error
    this.stop()
    if (this.#isHidden || error.code === 'not_found') this.#forget()
    this.#setConnection({ status: 'closed' })
    this.#show()
    this.fail(error)
  }

  /** Show nothing of the former user; a running watch goes on if this user may read the smelt. */
  changeUser() {
    if (this.#channel) {
      this.#isHidden = true
      this.#show()
      this.client.reader.request(this)
    } else {
      this.#connection = IDLE
      this.#restart()
      this.#show()
    }
  }

  #forget() {
    this.#isHidden = false
    this.#state = initialState(this.id)
    this.#details = NO_DETAILS
  }

  nextReadMs() {
    if (needsRead(this.#state)) return GAP_READ_MS
    const status = this.#state.progress?.status
    return pollInMs({
      joined: this.#isJoined,
      eventAgeMs: performance.now() - this.#eventAt,
      underWay: status !== undefined && status !== 'pending',
      nextPollS: this.#nextPollS,
    })
  }

  /** Return updates that bring a new observer to the current state. @returns {SmeltUpdate[]} */
  replay() {
    const { id, run, progress, segments, end } = this.#state
    /** @type {SmeltUpdate[]} */
    const updates = Object.entries(segments).map(([file_id, all]) => ({
      type: 'segments',
      smelt_id: id,
      file_id,
      segments: all,
      run,
    }))
    if (progress?.run === run) updates.unshift(withWorker(progress))
    if (this.#isJoined) updates.unshift({ type: 'connection', ...this.#connection })
    if (end) updates.push(end)
    return updates
  }

  /**
   * A slow consumer gets the newest progress of each stage, and all segments.
   * @param {SmeltUpdate[]} queue
   * @param {SmeltUpdate} item
   */
  enqueue(queue, item) {
    const last = queue.at(-1)
    const isNewer =
      last?.type === 'progress' && item.type === 'progress' && last.run === item.run && last.status === item.status
    return [...(isNewer ? queue.slice(0, -1) : queue), item]
  }

  report() {
    const age = (/** @type {number} */ at) => (at === -Infinity ? null : (performance.now() - at) / 1000)
    const { id, status, seq, connection } = this.view
    return { smelt_id: id, status, seq, connection, event_age_s: age(this.#eventAt), read_age_s: age(this.#readAt) }
  }

  get #isJoined() {
    return this.#channel?.joined ?? false
  }

  #restart() {
    this.restarts += 1
    this.#error = this.failure = null
    this.#forget()
    if (this.isStarted) this.start()
  }

  /** @param {string} event @param {any} payload */
  #onEvent(event, payload) {
    if (this.#isHidden) return
    this.#eventAt = performance.now()
    this.#merge({ type: 'event', event, payload })
    if (needsRead(this.#state)) this.client.reader.reschedule(this)
  }

  #onJoined() {
    this.#eventAt = performance.now()
    this.#setConnection({ status: 'live', error: null }, true)
    this.client.reader.request(this)
  }

  /** @param {SmeltError} error */
  #onLeft(error) {
    if (!error.transient) return this.end(error)
    this.#setConnection({ status: 'polling', error }, true)
    this.client.reader.reschedule(this)
  }

  /** @param {News} news */
  #merge(news) {
    const { state, updates } = merge(this.#state, news)
    this.#state = state
    this.#updateEndTimer()
    if (state.progress && !state.end) this.#connection = { ...this.#connection, worker: state.progress.worker_online }
    if (updates.length) this.#show()
    for (const update of updates) this.emit(update.type === 'progress' ? withWorker(update) : update)
    if (state.end && updates.length) {
      this.stop()
      this.#setConnection({ status: 'closed', error: null })
    }
  }

  #updateEndTimer() {
    const run = endingRun(this.#state)
    if (run === this.#endingRun) return
    this.#endingRun = run
    clearTimeout(this.#endTimer)
    if (run === null) return
    this.client.reader.request(this)
    this.#endTimer = setTimeout(() => this.#merge({ type: 'conclude' }), END_TIMEOUT_MS)
  }

  /** @param {Partial<ConnectionView>} change @param {boolean} [emits] */
  #setConnection(change, emits = false) {
    const before = this.#connection
    const connection = { ...before, ...change }
    if (connection.status === before.status && connection.error === before.error && connection.worker === before.worker)
      return
    this.#connection = connection
    this.#show()
    if (emits) this.emit({ type: 'connection', ...connection })
  }

  #show() {
    const state = this.#isHidden ? initialState(this.id) : this.#state
    this.set(viewOf(state, this.#isHidden ? NO_DETAILS : this.#details, this.#connection, this.#error))
  }
}

/** Show that no worker runs, instead of a message that claims activity. @param {ProgressUpdate} update */
const withWorker = (update) =>
  update.worker_online === false && !update.progress.message.startsWith(MISSING_MODEL)
    ? { ...update, progress: { ...update.progress, message: NO_WORKER } }
    : update

/**
 * @param {import('./smelt.d.ts').MergeState} state
 * @param {Details} details
 * @param {ConnectionView} connection
 * @param {SmeltError | null} error
 * @returns {SmeltView}
 */
function viewOf({ id, run, progress, segments, end, readSeq }, { files, submitted_at }, connection, error) {
  const failed = end?.type === 'failed' ? { code: end.error_code, message: end.error_message } : null
  const current = end ? null : progress && withWorker(progress)
  // Files of a read at the end are newer than the last progress.
  const live = new Map(end && end.seq <= (readSeq ?? 0) ? [] : progress?.files.map((file) => [file.id, file]))
  return {
    id,
    status: end?.status ?? progress?.status ?? 'pending',
    progress: end
      ? {
          percentage: end.type === 'completed' ? 100 : (progress?.progress.percentage ?? 0),
          stage: end.status,
          message: failed?.message ?? 'Complete',
        }
      : (current?.progress ?? null),
    files: files.length ? files.map((file) => ({ progress: 0, ...file, ...live.get(file.id) })) : [...live.values()],
    segments,
    outputs: current?.outputs ?? [],
    error: failed ?? (error && { code: error.code, message: error.message }),
    ...pick(current, 'eta_seconds queue_position'),
    ...pick(end, 'results outcome completed_at'), // A failed smelt has the last one alone.
    submitted_at,
    seq: (end ?? progress)?.seq ?? null,
    run,
    connection,
  }
}
