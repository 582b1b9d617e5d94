// Components of the tests: they record what each hook returns, in StrictMode.
import { createClient } from '@supabase/supabase-js'
import { createElement, StrictMode, useEffect, version } from 'react'
import { createRoot } from 'react-dom/client'
import { connectSmelt } from 'smelt-js'
import {
  SmeltProvider,
  useSmelt,
  useSmeltBatch,
  useSmeltConnection,
  useSmeltNotifications,
  useSmelts,
  useSmeltSubscription,
  useSmeltUpload,
} from 'smelt-js/react'
import { Dashboard } from '../types/usage/Dashboard.tsx'
import { SmeltProgress } from '../types/usage/SmeltProgress.tsx'
import * as vanilla from '../types/usage/vanilla.ts'

const { url, key } = await (await fetch('/settings')).json()
const supabase = createClient(url, key, { auth: { persistSession: false } })
const recording = new File([await (await fetch('/recording')).blob()], 'decision.ogg', { type: 'audio/ogg' })

const states = {}
const mounts = {}
const outcomes = [] // Of calls of `upload`.

/** Record the state of each commit without its functions, and the effects of mounts. */
function useRecorded(name, state) {
  useEffect(() => {
    mounts[name] = (mounts[name] ?? 0) + 1
  }, [name])
  useEffect(() => {
    ;(states[name] ??= []).push(JSON.parse(JSON.stringify(state)))
  }, [name, state])
}

function Upload({ file = recording, prompts }) {
  const uploaded = useSmeltUpload()
  const { upload, job, isUploading, progress, error } = uploaded
  useEffect(() => {
    upload({ files: [file], prompts }).then(
      (job) => outcomes.push(job.id),
      ({ code }) => outcomes.push(code),
    )
  }, [upload, file, prompts])
  const id = job?.id ?? null
  useRecorded('upload', JSON.stringify({ isUploading, progress, id, error: error && { code: error.code } }))
  const state = useSmeltSubscription(supabase, id)
  useRecorded('subscription', state)
  return <SmeltProgress supabaseClient={supabase} smeltId={id} />
}

function Smelt({ name, id }) {
  const smelt = useSmelt(id)
  useRecorded(name, smelt)
  useRecorded(`${name} subscription`, useSmeltSubscription(supabase, id))
  return (
    <button id={`${name}-cancel`} onClick={smelt.cancel}>
      {smelt.status}
    </button>
  )
}

const Pair = ({ id }) => ['first', 'second'].map((name) => <Smelt key={name} name={name} id={id} />)

function Overview({ batch }) {
  useRecorded('smelts', useSmelts())
  useRecorded('batch', useSmeltBatch(batch))
  useRecorded('connection', useSmeltConnection())
  const notifications = useSmeltNotifications()
  useRecorded('notifications', notifications)
  return (
    <button id="read" onClick={() => notifications.read(notifications.notifications.map(({ id }) => id))}>
      Mark as read
    </button>
  )
}

const components = { Upload, Pair, Overview, SmeltProgress, Dashboard }
const root = createRoot(document.getElementById('root'))

/** Render a component, or nothing. */
function render(name, props) {
  const child = name && createElement(components[name], { supabase, supabaseClient: supabase, ...props })
  root.render(<StrictMode>{child && <SmeltProvider supabase={supabase}>{child}</SmeltProvider>}</StrictMode>)
}

Object.assign(window, {
  smelt: connectSmelt({ supabase }),
  supabase,
  recording,
  states,
  mounts,
  outcomes,
  render,
  vanilla,
  version,
})
