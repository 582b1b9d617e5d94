// An app in TypeScript that uses the package.
import { createClient } from '@supabase/supabase-js'
import {
  connectSmelt,
  formatRemaining,
  SmeltFailed,
  SmeltSubscription,
  subscribeToSmelt,
  subscribeWithRetry,
  toSrt,
  toVtt,
  type SmeltView,
  type Update,
} from './smelt/index.js'

const supabase = createClient('http://localhost', 'key')
const smelt = connectSmelt({ supabase, domEvents: true })

export async function app(files: File[], signal: AbortSignal): Promise<string> {
  const job = await smelt.create({
    files: [...files, { blob: new Blob(), filename: 'a.webm' }],
    prompts: ['summarize', 'my-own'],
    options: { language: 'de' },
    onUpload: ({ totalLoaded, total }) => console.log(totalLoaded / total),
    signal,
  })
  const unsubscribe: () => void = job.subscribe(() => render(job.getSnapshot()))
  for await (const update of job.watch({ signal })) take(update)
  for await (const update of job.watch({ connectionEvents: true })) {
    if (update.type === 'connection') console.log(update.status, update.error?.transient)
    // @ts-expect-error a connection event is not an update of the smelt
    take(update)
  }
  unsubscribe()
  try {
    return (await job.done).results.map(({ content }) => content).join()
  } catch (error) {
    return error instanceof SmeltFailed ? `${error.code}: ${error.message}` : ''
  }
}

function take(update: Update): void {
  if (update.type === 'segments') console.log(toSrt(update.segments), toVtt(update.segments))
  if (update.type === 'progress') console.log(update.progress.percentage, formatRemaining(update.eta_seconds))
  // @ts-expect-error there is no such update
  if (update.type === 'lost') return
}

function render({ status, results, error, connection }: SmeltView): void {
  if (connection.worker === false) console.log('no worker')
  // @ts-expect-error null until it is completed
  console.log(results.length)
  // @ts-expect-error not a status
  if (status === 'processing') console.log(error?.message)
}

export async function lists(): Promise<void> {
  for (const { id, files } of await smelt.list({ status: ['pending', 'failed'] })) console.log(id, files[0]?.filename)
  for await (const change of smelt.feed.watch())
    if (change.type === 'smelt') console.log(change.row.status, change.keys)
  for await (const { title } of smelt.notifications.watch()) console.log(title, await smelt.notifications.unreadCount())
  const batch = await smelt.createBatch('Interviews')
  for await (const { completed, total } of batch.watch()) console.log(completed / total)
  console.log(smelt.diagnostics().watches[0]?.event_age_s, smelt.connection.getSnapshot().isConnected)
}

const subscription: SmeltSubscription = subscribeToSmelt(supabase, 'id', {
  onProgress: (payload) => console.log(payload.progress.percentage, payload.files[0]?.status),
  onCompleted: (payload) => console.log(payload.results),
  onFailed: (payload) => console.error(payload.error_code, payload.error_message),
  onError: (error) => console.error(error.code),
})
subscription.unsubscribe()
subscribeWithRetry(supabase, 'id', {}, 3).unsubscribe()
new SmeltSubscription(supabase, 'id', {}).subscribe()
