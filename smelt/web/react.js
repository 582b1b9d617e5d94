'use client'
// React hooks: the stores of the client as state of components.
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react'
import { connectSmelt } from './client.js'
import { asSmeltError, SmeltError } from './errors.js'
import { IDLE } from './store.js'

/** @import { BatchView, CreateRequest, ReadableStore, SmeltClient, SmeltJob, SmeltView } from './smelt.d.ts' */
/** @import { Batch, Notifications, Smelt, Smelts, SmeltProviderProps, SmeltState, Upload, UploadState } from './react.d.ts' */

/** @type {SmeltView} */
const NO_SMELT = {
  id: '',
  status: 'pending',
  progress: null,
  files: [],
  segments: {},
  outputs: [],
  results: null,
  outcome: null,
  error: null,
  eta_seconds: null,
  queue_position: null,
  completed_at: null,
  seq: null,
  run: 1,
  connection: IDLE,
}
/** @type {BatchView} */
const NO_BATCH = { id: '', batch: null, error: null, connection: IDLE }
/** @type {UploadState} */
const NO_UPLOAD = { isUploading: false, progress: null, job: null, error: null }

const Client = createContext(/** @type {SmeltClient | null} */ (null))

/**
 * Provide the client of a supabase-js client, or `client`, to the hooks below; the feed of an `invalidator` of
 * `smelt-js/query` is observed while the provider is mounted.
 * @param {SmeltProviderProps} props
 */
export function SmeltProvider({ supabase, client, domEvents, invalidator, children }) {
  const smelt = client ?? connectSmelt({ supabase, domEvents })
  useEffect(() => invalidator?.(smelt), [invalidator, smelt])
  return createElement(Client.Provider, { value: smelt }, children)
}

/** Return the client of the provider. */
export function useSmeltClient() {
  const client = useContext(Client)
  if (!client) throw new Error('Render <SmeltProvider supabase={supabase}> around the components that use smelt.')
  return client
}

/** Return the state of the live connection: `{ isConnected, isConnecting, error }`. */
export function useSmeltConnection() {
  return useStore(useSmeltClient().connection)
}

/**
 * Return the state of a smelt, or of none as long as the id is null; a lost connection does not change it.
 * @param {any} supabase
 * @param {string | null | undefined} id
 * @returns {SmeltState}
 */
export function useSmeltSubscription(supabase, id) {
  const [{ status, progress, results, error }] = useJob(connectSmelt({ supabase }), id)
  return useMemo(() => {
    const isStage = status !== 'pending' && status !== 'completed' && status !== 'failed'
    return { status: error ? 'failed' : isStage ? 'processing' : status, progress, results, error }
  }, [status, progress, results, error])
}

/**
 * Return the whole state of a smelt, or of none as long as the id is null, and functions that change it.
 * @param {string | null | undefined} id
 * @returns {Smelt}
 */
export function useSmelt(id) {
  const [view, job] = useJob(useSmeltClient(), id)
  const calls = useMemo(
    () => ({ cancel: async () => existing(job).cancel(), retry: async () => existing(job).retry() }),
    [job],
  )
  return useMemo(() => {
    const {
      connection: { status: connection, worker },
      eta_seconds: eta,
      ...rest
    } = view
    return { ...rest, eta, connection, worker, ...calls }
  }, [view, calls])
}

/** Return all smelts of the signed-in user, newest first, with their files and the counts by status. @returns {Smelts} */
export function useSmelts() {
  const view = useStore(useSmeltClient().feed)
  return useMemo(() => ({ ...view, connection: view.connection.status }), [view])
}

/**
 * Return the state of a batch, or of none as long as the id is null.
 * @param {string | null | undefined} id
 * @returns {Batch}
 */
export function useSmeltBatch(id) {
  const client = useSmeltClient()
  const view = useStore(
    useMemo(() => (id ? client.batch(id) : null), [client, id]),
    NO_BATCH,
  )
  return useMemo(() => ({ ...view, connection: view.connection.status }), [view])
}

/** Return the notifications of the signed-in user, and functions that mark them. @returns {Notifications} */
export function useSmeltNotifications() {
  const { notifications } = useSmeltClient()
  const view = useStore(notifications)
  return useMemo(() => {
    const { seen, read } = notifications
    return {
      ...view,
      connection: view.connection.status,
      seen: seen.bind(notifications),
      read: read.bind(notifications),
    }
  }, [notifications, view])
}

/**
 * Return a function that creates a smelt, and the state of its last call. An upload goes on when the component unmounts.
 * @returns {Upload}
 */
export function useSmeltUpload() {
  const client = useSmeltClient()
  const [state, setState] = useState(NO_UPLOAD)
  /** @type {{ current: { request: CreateRequest, stop: AbortController, done: Promise<SmeltJob | null> } | null }} */
  const running = useRef(null)
  const upload = useCallback(
    async (/** @type {CreateRequest} */ request) => {
      // A click twice, or an effect that StrictMode runs twice, is one upload.
      if (running.current && isSame(running.current.request, request)) return running.current.done
      if (running.current) throw new SmeltError('upload_running', 'Another upload is running.')
      const stop = new AbortController()
      const done = create(client, request, stop, setState).then((end) => {
        running.current = null
        setState(end)
        if (end.error) throw end.error
        return end.job
      })
      running.current = { request, stop, done }
      return done
    },
    [client],
  )
  const cancel = useCallback(() => running.current?.stop.abort(), [])
  return useMemo(() => ({ ...state, upload, cancel }), [state, upload, cancel])
}

/**
 * Create a smelt and show the progress; return the state at the end.
 * @param {SmeltClient} client
 * @param {CreateRequest} request
 * @param {AbortController} stop
 * @param {(state: UploadState) => void} show
 * @returns {Promise<UploadState>}
 */
async function create(client, request, stop, show) {
  const { signal, onUpload } = request
  const onAbort = () => stop.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  if (signal?.aborted) onAbort()
  show({ ...NO_UPLOAD, isUploading: true })
  try {
    const job = await client.create({
      ...request,
      signal: stop.signal,
      onUpload: (progress) => {
        show({ ...NO_UPLOAD, isUploading: true, progress })
        onUpload?.(progress)
      },
    })
    return { ...NO_UPLOAD, job }
  } catch (error) {
    return stop.signal.aborted ? NO_UPLOAD : { ...NO_UPLOAD, error: asSmeltError(error) }
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Return true if two requests have the same text and files. @param {CreateRequest} one @param {CreateRequest} other */
function isSame(one, other) {
  const [parts, others] = [one, other].map(({ text, files = [] }) => [
    text,
    ...files.map((file) => ('blob' in file ? file.blob : file)),
  ])
  return parts.length === others.length && parts.every((part, n) => part === others[n])
}

/**
 * @param {SmeltClient} client
 * @param {string | null | undefined} id
 * @returns {[SmeltView, SmeltJob | null]}
 */
function useJob(client, id) {
  const job = useMemo(() => (id ? client.job(id) : null), [client, id])
  return [useStore(job, NO_SMELT), job]
}

/**
 * Return the state of a store; without one, always the same.
 * @template View
 * @overload
 * @param {ReadableStore<View>} store
 * @returns {View}
 */
/**
 * @template View
 * @overload
 * @param {ReadableStore<View> | null} store
 * @param {View} empty
 * @returns {View}
 */
/** @param {ReadableStore<unknown> | null} store @param {unknown} [empty] */
function useStore(store, empty) {
  const getEmpty = () => empty
  return useSyncExternalStore(
    store?.subscribe ?? subscribeToNothing,
    store?.getSnapshot ?? getEmpty,
    store?.getServerSnapshot ?? getEmpty,
  )
}

const subscribeToNothing = () => () => {}

/** @param {SmeltJob | null} job */
function existing(job) {
  if (job) return job
  throw new SmeltError('not_found', 'There is no smelt yet.')
}
