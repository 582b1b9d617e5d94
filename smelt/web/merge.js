// Merging of live events and reads of one smelt into updates: pure, with the rules of smelt's Python subscriber.
// The resulting state does not depend on the order in which events and reads arrive, nor on repeated or lost events.

/** @import { MergeState, News, Update, ProgressUpdate, EndUpdate, SegmentsUpdate } from './smelt.d.ts' */
/** @import { FileSegment, Segment, Snapshot, Unchanged, SmeltEvents, Status } from './contract.d.ts' */
/** @typedef {{ state: MergeState, updates: Update[] }} Merged */

/** @type {readonly Status[]} */
const ORDER = ['pending', 'validating', 'decoding', 'transcribing', 'synthesizing', 'completed', 'failed']

/**
 * Return the state of a smelt of which nothing is known.
 * @param {string} id
 * @returns {MergeState}
 */
export const initialState = (id) => ({
  id,
  run: 0,
  progress: null,
  segments: {},
  end: null,
  waiting: {},
  readSeq: null,
  segmentsSeq: 0,
  storedSeq: 0,
  knownEnd: null,
  isTruncated: false,
})

/**
 * Return the state after an event or a read, and the resulting updates; the passed state is not changed.
 * @param {MergeState} state
 * @param {News} news
 * @returns {Merged}
 */
export function merge(state, news) {
  if (news.type === 'conclude') return conclude(state)
  if (news.type === 'event')
    return isValid(state, news) ? mergeEvent(state, news.event, news.payload) : { state, updates: [] }
  if ('status' in news.state) return mergeSnapshot(state, news.state, news.segments_after ?? 0)
  return mergeUnchanged(state, news.state)
}

/**
 * Return the argument of `get_smelts` for the part of the state that is missing.
 * @param {MergeState} state
 */
export const known = (state) => ({
  id: state.id,
  after_seq: needsRead(state) ? null : state.readSeq,
  segments_after: state.segmentsSeq,
})

/**
 * Return true if something is known to be missing that a read would return.
 * @param {MergeState} state
 */
export const needsRead = (state) => !state.end && (!!state.knownEnd || isIncomplete(state))

/**
 * Return the run whose end is known with all results, while earlier updates may be missing; null otherwise.
 * @param {MergeState} state
 */
export const endingRun = (state) => (state.end || !state.knownEnd || state.isTruncated ? null : state.knownEnd.run)

/** @param {MergeState} state */
const isIncomplete = (state) => Object.keys(state.waiting).length > 0 || state.segmentsSeq < state.storedSeq

/** @type {Record<string, (payload: any) => unknown>} */
const VALIDATORS = {
  progress: ({ status, progress, files, segments = [], outputs = [] }) =>
    ORDER.includes(status) && progress && [files, segments, outputs].every(Array.isArray),
  segments: ({ segments, file_id }) => Array.isArray(segments) && file_id,
  completed: ({ results }) => Array.isArray(results),
  failed: ({ error_code }) => error_code,
}

/**
 * @param {MergeState} state
 * @param {{ event: string, payload: any }} news
 */
const isValid = ({ id }, { event, payload }) =>
  payload?.smelt_id === id &&
  Number.isInteger(payload.run) &&
  Number.isInteger(payload.seq) &&
  VALIDATORS[event]?.(payload)

/**
 * @param {MergeState} before
 * @param {string} event
 * @param {any} payload
 * @returns {Merged}
 */
function mergeEvent(before, event, payload) {
  const state = enterRun(before, payload.run)
  if (!state) return { state: before, updates: [] }
  if (event === 'progress') {
    const files = payload.files.map((/** @type {object} */ file) => ({ untranscribed_seconds: 0, ...file }))
    return then(addSegments(state, payload.segments ?? []), (state) => advance(state, progressOf(payload, files)))
  }
  if (event === 'segments') return addSegments(state, payload.segments, payload.file_id)
  return {
    state: withKnownEnd(state, endFrom({ ...payload, status: event }), !!payload.results_truncated),
    updates: [],
  }
}

/**
 * @param {MergeState} before
 * @param {Snapshot} snapshot
 * @param {number} segmentsAfter
 * @returns {Merged}
 */
function mergeSnapshot(before, snapshot, segmentsAfter) {
  let state = enterRun(before, snapshot.run)
  if (!state) return { state: before, updates: [] }
  state = {
    ...state,
    readSeq: Math.max(snapshot.seq, state.readSeq ?? 0),
    storedSeq: Math.max(state.storedSeq, snapshot.segments_seq),
    segmentsSeq:
      segmentsAfter <= state.segmentsSeq ? Math.max(state.segmentsSeq, snapshot.segments_seq) : state.segmentsSeq,
  }
  const end = endOf(snapshot)
  if (!end) {
    const advanced = advance(
      state,
      progressOf({ ...snapshot, smelt_id: snapshot.id }, snapshot.files.map(fileProgressOf)),
    )
    return then(advanced, (state) => addSegments(state, snapshot.segments))
  }
  const added = addSegments(state, snapshot.segments)
  return then(added, (state) => {
    const ending = withKnownEnd(state, end, false)
    return isIncomplete(ending) ? { state: ending, updates: [] } : conclude(ending)
  })
}

/**
 * Other smelts and workers change queue position, message and `worker_online` without a change of this smelt.
 * @param {MergeState} state
 * @param {Unchanged} read
 * @returns {Merged}
 */
function mergeUnchanged(state, { seq, queue_position, message, worker_online }) {
  const known = state.progress
  if (state.end || !known) return { state, updates: [] }
  return advance(state, {
    ...known,
    seq,
    progress: { ...known.progress, message: message ?? known.progress.message },
    queue_position: queue_position ?? known.queue_position,
    worker_online,
  })
}

/**
 * @param {MergeState} state
 * @returns {Merged}
 */
function conclude(state) {
  if (endingRun(state) === null || !state.knownEnd) return { state, updates: [] }
  return { state: { ...state, end: state.knownEnd }, updates: [state.knownEnd] }
}

/**
 * @param {Merged} merged
 * @param {(state: MergeState) => Merged} step
 * @returns {Merged}
 */
function then({ state, updates }, step) {
  const next = step(state)
  return { state: next.state, updates: [...updates, ...next.updates] }
}

/**
 * Return the state in a run; null if the run is older or the smelt has ended.
 * @param {MergeState} state
 * @param {number} run
 * @returns {MergeState | null}
 */
function enterRun(state, run) {
  if (state.end || run < state.run) return null
  if (run === state.run) return state
  return { ...initialState(state.id), run, progress: state.progress, readSeq: state.readSeq }
}

/**
 * Add segments; one that arrives before its predecessor waits for it.
 * @param {MergeState} state
 * @param {readonly (Segment & { file_id?: string })[]} segments
 * @param {string} [ofFile] the file of segments without a `file_id`
 * @returns {Merged}
 */
function addSegments(state, segments, ofFile) {
  /** @type {Record<string, Segment[]>} */
  const byFile = {}
  for (const { file_id = ofFile, ...segment } of segments) if (file_id) (byFile[file_id] ??= []).push(segment)
  /** @type {SegmentsUpdate[]} */
  const updates = []
  const all = { ...state.segments }
  const waiting = { ...state.waiting }
  for (const [file_id, added] of Object.entries(byFile)) {
    const present = all[file_id] ?? []
    const later = new Map((waiting[file_id] ?? []).concat(added).map((segment) => [segment.index, segment]))
    const ready = []
    for (let next = present.length, segment; (segment = later.get(next)); next += 1) ready.push(segment)
    const length = present.length + ready.length
    const rest = [...later.values()].filter(({ index }) => index >= length)
    delete waiting[file_id]
    if (rest.length) waiting[file_id] = rest
    if (!ready.length) continue
    all[file_id] = [...present, ...ready]
    updates.push({ type: 'segments', smelt_id: state.id, file_id, segments: ready, run: state.run })
  }
  return { state: { ...state, segments: all, waiting }, updates }
}

/**
 * @param {MergeState} state
 * @param {EndUpdate} end
 * @param {boolean} isTruncated
 * @returns {MergeState}
 */
const withKnownEnd = (state, end, isTruncated) =>
  !state.knownEnd || state.isTruncated ? { ...state, knownEnd: end, isTruncated } : state

/**
 * @param {MergeState} state
 * @param {ProgressUpdate} update
 * @returns {Merged}
 */
function advance(state, update) {
  const before = state.progress
  if (before?.run === update.run) {
    const hasMoved =
      (update.queue_position !== null && update.queue_position !== before.queue_position) ||
      (update.worker_online !== null && update.worker_online !== before.worker_online)
    if (update.seq < before.seq || (update.seq === before.seq && !hasMoved)) return { state, updates: [] }
    update = withoutRegression(before, update)
  }
  return { state: { ...state, progress: update }, updates: [update] }
}

/**
 * @param {ProgressUpdate} before
 * @param {ProgressUpdate} update
 * @returns {ProgressUpdate}
 */
function withoutRegression(before, update) {
  const status = ORDER.indexOf(before.status) > ORDER.indexOf(update.status) ? before.status : update.status
  const percentage = Math.max(before.progress.percentage, update.progress.percentage)
  const isWaiting = update.queue_position === null && status === 'pending'
  // Events do not carry `worker_online`. Progress implies a worker; with the same attempt, the last value still holds.
  const hasMoved = status !== before.status || percentage !== before.progress.percentage
  const inferred = hasMoved ? true : update.attempt === before.attempt ? before.worker_online : null
  return {
    ...update,
    status,
    progress: { ...update.progress, percentage, stage: status },
    queue_position: isWaiting ? before.queue_position : update.queue_position,
    worker_online: update.worker_online ?? inferred,
  }
}

/**
 * Return these fields of an object; one that is missing is null, and so are all without an object.
 * @param {any} source
 * @param {string} names
 * @returns {any}
 */
export const pick = (source, names) => Object.fromEntries(names.split(' ').map((name) => [name, source?.[name] ?? null]))

/**
 * @param {any} source an event or a snapshot
 * @param {ProgressUpdate['files']} files
 * @returns {any}
 */
const progressOf = (source, files) => ({
  type: 'progress',
  ...pick(source, 'smelt_id status eta_seconds queue_position worker_online seq run attempt'),
  progress: { ...pick(source.progress, 'percentage message'), stage: source.status },
  outputs: source.outputs ?? [],
  files,
})

/** @param {Snapshot['files'][number]} file */
const fileProgressOf = ({ id, status, progress, trust }) => ({
  id,
  status,
  progress,
  untranscribed_seconds: trust?.untranscribed_seconds || 0,
})

/**
 * @param {any} source an event or a snapshot
 * @returns {any}
 */
const endFrom = (source) =>
  source.status === 'completed'
    ? {
        type: 'completed',
        ...pick(source, 'smelt_id status completed_at seq run'),
        outcome: source.outcome ?? 'complete',
        results: source.results ?? [],
      }
    : { type: 'failed', ...pick(source, 'smelt_id status error_code error_message completed_at seq run') }

/**
 * @param {Snapshot} snapshot
 * @returns {EndUpdate | null}
 */
function endOf(snapshot) {
  if (!snapshot.completed_at) return null // It is set if and only if the status is terminal.
  const { id, error_code, error_message, progress } = snapshot
  return endFrom({
    ...snapshot,
    smelt_id: id,
    error_code: error_code || 'internal_error',
    error_message: error_message || progress.message,
  })
}
