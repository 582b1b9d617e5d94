// An app creates, uploads, submits and follows a smelt with supabase-js; other users have no access.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertContract, connect, createSmelt, listen, signUp, until } from './app.mjs'

const ORDER = ['pending', 'validating', 'decoding', 'transcribing', 'synthesizing', 'completed']

async function follow(supabase) {
  const smelt = await createSmelt(supabase, ['summarize', 'action_items'])
  const { status, events } = await listen(supabase, smelt.subscription_channel)
  assert.equal(status, 'SUBSCRIBED')
  const submitted = await supabase.rpc('submit_smelt', { smelt_id: smelt.id })
  assert.equal(submitted.error, null)
  await until(() => events.some(({ event }) => event === 'completed' || event === 'failed'), 'a terminal event')
  return { smelt, events }
}

function assertJourney(smelt, events) {
  events.forEach(assertContract)
  const terminal = events.filter(({ event }) => event === 'completed' || event === 'failed')
  assert.deepEqual(new Set(terminal.map(({ payload }) => payload.event_id)).size, 1)
  const completed = terminal[0].payload
  assert.equal(completed.status, 'completed')
  assert.deepEqual(completed.results.map(({ file_id }) => file_id), smelt.files.map(({ id }) => id))
  assert.ok(completed.results[0].content.length > 0)
  const progress = events.filter(({ event }) => event === 'progress').map(({ payload }) => payload)
  const stages = progress.map(({ status }) => ORDER.indexOf(status))
  const percentages = progress.map((payload) => payload.progress.percentage)
  assert.deepEqual(stages, stages.toSorted((a, b) => a - b))
  assert.deepEqual(percentages, percentages.toSorted((a, b) => a - b))
  assert.ok(progress.some(({ status }) => status === 'transcribing'))
  assert.ok(progress.some(({ segments }) => segments.length > 0))
}

async function closing(supabase, journey) {
  try {
    await journey()
  } finally {
    await supabase.removeAllChannels()
  }
}

describe('supabase-js', { concurrency: true }, () => {
  test('watch by an anonymous visitor reaches completion', async () => {
    const visitor = connect()
    await closing(visitor, async () => {
      const { smelt, events } = await follow(visitor)
      assertJourney(smelt, events)
      const { data } = await visitor.rpc('get_smelt', { smelt_id: smelt.id })
      assert.equal(data.status, 'completed')
    })
  })

  test('watch by a signed-in user reaches completion', async () => {
    const owner = connect()
    await signUp(owner)
    await closing(owner, async () => {
      const { smelt, events } = await follow(owner)
      assertJourney(smelt, events)
      const { data } = await owner.from('smelts').select('id, status').eq('id', smelt.id)
      assert.deepEqual(data, [{ id: smelt.id, status: 'completed' }])
    })
  })

  test('RLS denies another user and a visitor', async () => {
    const [owner, other, visitor] = [connect(), connect(), connect()]
    await signUp(owner)
    await signUp(other)
    const smelt = await createSmelt(owner)
    await Promise.all([other, visitor].map((stranger) =>
      closing(stranger, async () => {
        const { status } = await listen(stranger, smelt.subscription_channel)
        assert.equal(status, 'CHANNEL_ERROR')
        const read = await stranger.rpc('get_smelt', { smelt_id: smelt.id })
        assert.equal(read.error.hint, 'not_found')
        const rows = await stranger.from('smelts').select('id').eq('id', smelt.id)
        assert.deepEqual(rows.data ?? [], [])
        const path = smelt.files[0].upload_path
        const download = await stranger.storage.from('smelt-audio').download(path)
        assert.ok(download.error)
      })))
  })

  test("broadcast by a client is not delivered", async () => {
    const [owner, attacker] = [connect(), connect()]
    await signUp(owner)
    const smelt = await createSmelt(owner)
    await closing(owner, () => closing(attacker, async () => {
      const { status, events, channel } = await listen(owner, smelt.subscription_channel)
      assert.equal(status, 'SUBSCRIBED')
      const open = await listen(attacker, smelt.subscription_channel, { private: false, broadcast: { self: true } })
      const forged = { type: 'broadcast', event: 'progress', payload: { forged: true } }

      // On the private channel as the owner, over REST as owner and attacker, and on a public channel of the same name.
      await channel.send(forged)
      await channel.httpSend('progress', forged.payload).catch((error) => assert.match(String(error), /nauthorized|403/))
      const rest = await fetch(`${process.env.SUPABASE_URL}/realtime/v1/api/broadcast`, {
        method: 'POST',
        headers: { apikey: process.env.SUPABASE_ANON_KEY, 'content-type': 'application/json' },
        body: JSON.stringify({
          messages: [{ topic: smelt.subscription_channel, event: 'progress', payload: forged.payload, private: true }],
        }),
      })
      assert.equal(rest.status, 202)
      await open.channel.send(forged)
      // Once the public channel has returned its message, the other messages had time to arrive as well.
      await until(() => open.events.length > 0, 'the echo on the public channel')

      // The owner receives the real event, and only that.
      await owner.rpc('cancel_smelt', { smelt_id: smelt.id })
      await until(() => events.some(({ event }) => event === 'failed'), 'the real event')
      assert.deepEqual(events.filter(({ payload }) => payload.forged), [])
      assert.deepEqual(open.events.filter(({ payload }) => !payload.forged), [])
    }))
  })
})
