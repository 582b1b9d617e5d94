// TanStack Query is invalidated by the feed of a user, against a project with a worker.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { QueryClient, QueryObserver } from '@tanstack/react-query'
import { connect, signUp, until } from './app.mjs'
import { connectSmelt } from '../../smelt/web/index.js'
import { smartPolling, smeltQueryInvalidator } from '../../smelt/web/query.js'

test('queries without polling follow the smelts of the user', async () => {
  const supabase = connect()
  await signUp(supabase)
  const smelt = connectSmelt({ supabase })
  const client = new QueryClient()
  const observe = (queryKey, queryFn) =>
    new QueryObserver(client, { queryKey, queryFn, staleTime: Infinity }).subscribe(() => {})
  const ends = [smeltQueryInvalidator(client)(smelt)]
  try {
    assert.equal(smartPolling(['smelts'])(), 5000)
    await until(() => smelt.feed.getSnapshot().connection.status === 'live', 'the feed')
    assert.equal(smartPolling(['smelts'])(), 30_000)
    ends.push(observe(['smelts', 1], () => smelt.list()))
    ends.push(observe(['smelt-counts'], async () => (await smelt.list({ status: 'completed' })).length))
    await until(() => client.getQueryData(['smelt-counts']) === 0, 'the first fetch')
    const { id } = await smelt.create({ text: 'We decided to publish the report on Friday.' })
    ends.push(observe(['smelt', id], () => smelt.get(id)))
    await until(() => client.getQueryData(['smelts', 1])?.[0]?.status === 'completed', 'the list')
    await until(() => client.getQueryData(['smelt', id])?.status === 'completed', 'the smelt')
    await until(() => client.getQueryData(['smelt-counts']) === 1, 'the count')
  } finally {
    for (const end of ends) end()
    client.clear()
    await until(() => supabase.getChannels().length === 0, 'the channel to be removed')
    await supabase.removeAllChannels()
  }
})
