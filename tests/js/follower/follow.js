// An app that follows smelts by commands, in Node or in a page, and prints the arguments of each callback.

/** Return the first of these tokens that has not expired. */
const current = (tokens) => {
  const isValid = (token) => JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).exp * 1000 > Date.now()
  return tokens.find(isValid) ?? tokens.at(-1)
}

/**
 * Return a function that runs a command, each with the `name` of a client: `open`, `unsubscribe`, `close`, and `hang`
 * with `isHanging`: true while calls of the token function never return. The `url` is that of a project, or with
 * `overGateway` that of a gateway.
 * @param {object} given
 * @param {Function} given.createClient of supabase-js
 * @param {typeof import('../../../smelt/web/index.js')} given.smeltJs
 * @param {Record<string, unknown>} [given.realtime] options
 * @param {(line: object) => void} given.print
 */
export function follower({ createClient, smeltJs, realtime, print }) {
  const clients = new Map()
  const hanging = new Set()
  const commands = {
    async open({ name, url, key, tokens, credentials, heartbeatMs, going, ending, overGateway }) {
      const report = (of, update) => print({ name, of, ...shortened(update) })
      const token = () => (hanging.has(name) ? new Promise(() => {}) : Promise.resolve(current(tokens)))
      const supabase =
        !overGateway &&
        createClient(url, key, {
          ...(tokens && { accessToken: token }),
          auth: { persistSession: false, storageKey: name },
          realtime: { ...realtime, ...(heartbeatMs && { heartbeatIntervalMs: heartbeatMs }) },
        })
      if (credentials) await supabase.auth.signInWithPassword(credentials)
      const smelt = smeltJs.connectSmelt(supabase ? { supabase } : { gateway: url, token })
      const job = smelt.job(going)
      const watch = async () => {
        for await (const update of job.watch({ connectionEvents: true })) report('going', update)
        const { status, segments, results } = job.getSnapshot()
        report('view', { status, segments: Object.values(segments).flat(), results: results?.length })
        const shown = await job.done
        report('done', shown)
      }
      watch().catch((error) => report('going', { type: 'error', error }))
      const follow = supabase ? subscribed(smeltJs.subscribeToSmelt, supabase, report) : iterated(smelt, report)
      const left = follow(going, 'left')
      follow(ending, 'ending')
      clients.set(name, { supabase, smelt, left })
    },
    async hang({ name, isHanging }) {
      if (isHanging) hanging.add(name)
      else hanging.delete(name)
    },
    async unsubscribe({ name }) {
      clients.get(name).left.unsubscribe()
      print({ name, of: 'left', type: 'unsubscribed' })
    },
    async close({ name }) {
      const { supabase, smelt } = clients.get(name)
      await new Promise((resolve) => setTimeout(resolve))
      const { channels, watches } = smelt.diagnostics()
      print({ name, of: 'client', type: 'closed', watches: watches.length, channels })
      if (supabase) await supabase.realtime.disconnect()
    },
  }
  return ({ command, ...options }) => commands[command](options)
}

/** Return a function that reports the callbacks of a subscription. */
const subscribed = (subscribeToSmelt, supabase, report) => (id, of) =>
  subscribeToSmelt(supabase, id, {
    onProgress: (update) => report(of, update),
    onSegments: (update) => report(of, update),
    onCompleted: (update) => report(of, update),
    onFailed: (update) => report(of, update),
    onError: (error) => report(of, { type: 'error', error }),
    onConnected: () => report(of, { type: 'connected' }),
    onDisconnected: () => report(of, { type: 'disconnected' }),
  })

/** Return a function that reports a watch in the same way: callbacks are for supabase-js. */
const iterated = (smelt, report) => (id, of) => {
  const stop = new AbortController()
  const iterate = async () => {
    for await (const update of smelt.job(id).watch({ signal: stop.signal, connectionEvents: true })) {
      if (update.type !== 'connection') report(of, update)
      else report(of, { type: update.status === 'live' ? 'connected' : 'disconnected' })
    }
  }
  iterate().catch((error) => stop.signal.aborted || report(of, { type: 'error', error }))
  return { unsubscribe: () => stop.abort() }
}

/** Return the parts of an update that are asserted. */
const shortened = ({ type, status, run, seq, segments, progress, results, error, code }) => ({
  type,
  status,
  run,
  seq,
  indexes: segments?.map(({ index }) => index),
  lines: segments?.map(({ text }) => text),
  percentage: progress?.percentage,
  results: results?.length ?? results,
  error: error ? `${error.code}: ${error.message}` : undefined,
  code,
})
