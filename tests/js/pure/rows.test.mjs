// Reads of many rows over supabase-js, from a project that limits responses to a few of them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { SupabaseAccount } from '../../../smelt/web/account-supabase.js'

const MAX_ROWS = 3
const NEWEST = { order: 'created_at', limit: 100 }
const AFTER = /^\(created_at\.lt\."(.+)",and\(created_at\.eq\."\1",id\.gt\.(\w+)\)\)$/
const ids = (rows) => rows.map(({ id }) => id).join('')
/** Return rows with these ids, of which two have the same time, so that the last one is the newest. */
const rowsOf = (names) => [...names].map((id, n) => ({ id, created_at: `2026-01-01T00:00:0${n >> 1}.000001+00:00` }))

/** Return the account of a project with one table, and the pages that it has returned. */
function setUp(table, onPage = () => {}) {
  const pages = []
  const respond = async (url) => {
    const { id, or, order, offset = 0, limit } = Object.fromEntries(new URL(url).searchParams)
    const isBefore = order.startsWith('created_at.desc,id')
      ? (a, b) => a.created_at > b.created_at || (a.created_at === b.created_at && a.id < b.id)
      : (a, b) => a.id < b.id
    const [, created_at, last = id?.slice('gt.'.length)] = (or && AFTER.exec(or)) ?? []
    const page = table
      .filter((row) => !last || isBefore({ id: last, created_at }, row))
      .sort((a, b) => (isBefore(a, b) ? -1 : 1))
      .slice(Number(offset))
      .slice(0, Math.min(limit, MAX_ROWS))
    pages.push(ids(page))
    onPage(pages.length)
    return Response.json(page)
  }
  const supabase = createClient('http://project.example', 'key', {
    accessToken: async () => 'token',
    realtime: { transport: WebSocket },
    global: { fetch: respond },
  })
  return { account: new SupabaseAccount(supabase), pages }
}

test('all rows are read from a project that limits responses', async () => {
  const { account, pages } = setUp(rowsOf('abcdefg'))
  assert.equal(ids(await account.rows('smelts', {})), 'abcdefg')
  assert.deepEqual(pages, ['abc', 'def', 'g', ''])
})

test('rows that are deleted between pages skip no other row', async () => {
  const table = rowsOf('abcdefg')
  const { account } = setUp(table, (count) => count === 1 && table.splice(0, 1))
  assert.equal(ids(await account.rows('smelts', {})), 'abcdefg')
})

test('the newest rows are read from a project that limits responses', async () => {
  const { account, pages } = setUp(rowsOf('abcdefg'))
  assert.equal(ids(await account.rows('smelts', NEWEST)), 'gefcdab')
  assert.deepEqual(pages, ['gef', 'cda', 'b', ''])
})

test('rows that arrive and are deleted between pages neither repeat nor skip one of the newest rows', async () => {
  for (const change of [(table) => table.push(...rowsOf('........z').slice(-1)), (table) => table.splice(-1)]) {
    const table = rowsOf('abcdefg')
    const { account } = setUp(table, (count) => count === 1 && change(table))
    assert.equal(ids(await account.rows('smelts', NEWEST)), 'gefcdab')
  }
})

test('a read ends at its limit, or at an empty page', async () => {
  for (const [limit, expected] of [
    [0, []],
    [2, ['ge']],
    [3, ['gef']],
    [5, ['gef', 'cd']],
  ]) {
    const { account, pages } = setUp(rowsOf('abcdefg'))
    await account.rows('smelts', { ...NEWEST, limit })
    assert.deepEqual(pages, expected)
  }
  const { account, pages } = setUp([])
  assert.deepEqual(await account.rows('smelts', {}), [])
  assert.deepEqual(pages, [''])
})
