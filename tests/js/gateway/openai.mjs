// OpenAI's client for Node over a gateway with a worker.
import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { test } from 'node:test'
import OpenAI from 'openai'
import { newEmail, signUp } from './users.mjs'

const { SMELT_GATEWAY, SMELT_RECORDING } = process.env
const { token } = await signUp(newEmail())
const client = new OpenAI({ baseURL: `${SMELT_GATEWAY}/v1`, apiKey: token })
const request = () => ({ file: createReadStream(SMELT_RECORDING), model: 'whisper-1' })
const create = (parameters) => client.audio.transcriptions.create({ ...request(), ...parameters })
const { text } = await create()

test('each response format has the transcript', { timeout: 60_000 }, async () => {
  assert.match(text, /review the contract/i)
  assert.equal(await create({ response_format: 'text' }), `${text}\n`)
  assert.match(await create({ response_format: 'srt' }), /^1\n00:00:0/)
  assert.match(await create({ response_format: 'vtt' }), /^WEBVTT\n/)
  const verbose = await create({ response_format: 'verbose_json', timestamp_granularities: ['word', 'segment'] })
  assert.equal(verbose.text, text)
  assert.equal(verbose.words.map(({ word }) => word).join(' '), text)
  assert.ok(verbose.segments.length >= 1 && verbose.duration > 4 && verbose.duration < 5)
})

test('a stream sends deltas that joined are the text', { timeout: 60_000 }, async () => {
  const events = []
  for await (const event of await create({ stream: true })) events.push(event)
  const deltas = events.filter(({ type }) => type === 'transcript.text.delta').map(({ delta }) => delta)
  assert.equal(deltas.join(''), text)
  assert.deepEqual(events.at(-1), { type: 'transcript.text.done', text })
})

test('errors have the classes of the client', { timeout: 60_000 }, async () => {
  await assert.rejects(create({ model: 'no-model' }), OpenAI.NotFoundError)
  await assert.rejects(create({ temperature: 0.5 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError)
    return error.param === 'temperature'
  })
  const stranger = new OpenAI({ baseURL: `${SMELT_GATEWAY}/v1`, apiKey: 'no token' })
  await assert.rejects(stranger.audio.transcriptions.create(request()), OpenAI.AuthenticationError)
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError)
})
