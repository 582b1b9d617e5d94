// What an app does with smelt, in the words of supabase-js alone.
import { createClient } from '@supabase/supabase-js'
import Ajv from 'ajv'
import addFormats from 'ajv-formats'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import WebSocket from 'ws'

const ajv = new Ajv({ strict: false })
addFormats(ajv)
const schemas = JSON.parse(await readFile(process.env.SMELT_CONTRACT, 'utf8'))
const validators = Object.fromEntries(Object.entries(schemas).map(([event, schema]) => [event, ajv.compile(schema)]))

export const recording = process.env.SMELT_RECORDING

/** A client of its own session; Node before 22 has no WebSocket, so one is passed. */
export function connect(key = process.env.SUPABASE_ANON_KEY) {
  return createClient(process.env.SUPABASE_URL, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  })
}

/** What a request answers, or its error thrown. */
export async function told(request) {
  const { data, error } = await request
  if (error) throw error
  return data
}

export async function signUp(supabase) {
  const { user } = await told(supabase.auth.signUp({
    email: `${crypto.randomUUID()}@example.com`,
    password: crypto.randomUUID(),
  }))
  return user
}

/** Create a smelt of one recording and upload it; it is not submitted yet. */
export async function createSmelt(supabase, prompts = ['summarize']) {
  const audio = await readFile(recording)
  const smelt = await told(supabase.rpc('create_smelt', {
    files: [{ filename: basename(recording), size_bytes: audio.length }],
    default_prompt_names: prompts,
  }))
  await told(supabase.storage.from('smelt-audio').upload(smelt.files[0].upload_path, audio))
  return smelt
}

/** Join the private channel of a smelt; resolves to {status, events, channel} once joined or refused. */
export async function listen(supabase, name, config = { private: true }) {
  await supabase.realtime.setAuth()
  const events = []
  const channel = supabase.channel(name, { config })
  for (const event of ['progress', 'segments', 'completed', 'failed']) {
    channel.on('broadcast', { event }, ({ payload }) => events.push({ event, payload }))
  }
  const status = await new Promise((resolve) => channel.subscribe(resolve))
  return { status, events, channel }
}

export function assertContract({ event, payload }) {
  if (!validators[event](payload)) {
    throw new Error(`${event} breaks the contract: ${ajv.errorsText(validators[event].errors)} in ${JSON.stringify(payload)}`)
  }
}

/** Wait until `found` answers something, or fail with `what` after `deadlineMs`. */
export async function until(found, what, deadlineMs = 60_000) {
  const end = Date.now() + deadlineMs
  for (;;) {
    const value = await found()
    if (value) return value
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
