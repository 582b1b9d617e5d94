// An app that uses smelt through supabase-js alone.
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

/** Return a client with a new session; a WebSocket is passed because Node has none before version 22. */
export function connect(key = process.env.SUPABASE_ANON_KEY) {
  return createClient(process.env.SUPABASE_URL, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  })
}

/** Return the data of a response, or throw its error. */
export async function dataOf(request) {
  const { data, error } = await request
  if (error) throw error
  return data
}

export async function signUp(supabase) {
  const { user } = await dataOf(supabase.auth.signUp({
    email: `${crypto.randomUUID()}@example.com`,
    password: crypto.randomUUID(),
  }))
  return user
}

/** Create a smelt of one recording and upload it, without submitting. */
export async function createSmelt(supabase, prompts = ['summarize']) {
  const audio = await readFile(recording)
  const smelt = await dataOf(supabase.rpc('create_smelt', {
    files: [{ filename: basename(recording), size_bytes: audio.length }],
    default_prompt_names: prompts,
  }))
  await dataOf(supabase.storage.from('smelt-audio').upload(smelt.files[0].upload_path, audio))
  return smelt
}

/** Join the private channel of a smelt; resolves to {status, events, channel} once joined or rejected. */
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

/** Wait until `read` returns a value; fail with `description` after `timeoutMs`. */
export async function until(read, description, timeoutMs = 60_000) {
  const end = Date.now() + timeoutMs
  for (;;) {
    const value = await read()
    if (value) return value
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms for ${description}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
