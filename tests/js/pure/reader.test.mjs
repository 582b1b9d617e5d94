// The reads of all watches, combined.
import assert from 'node:assert/strict'
import { after, before, mock, test } from 'node:test'
import { SmeltError } from '../../../smelt/web/errors.js'
import { Reader } from '../../../smelt/web/reader.js'
import { settle } from './project.mjs'

let now = 0

before(() => {
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(performance, 'now', () => now)
})
after(() => {
  mock.timers.reset()
  mock.reset()
})

test('smelts that are too long for one read are read in several', async () => {
  const sizes = []
  const transport = {
    async call(_, { smelts }) {
      sizes.push(smelts.length)
      if (smelts.length > 20) throw new SmeltError('unavailable', 'statement timeout', { transient: true })
      return { smelts: smelts.map(({ id }) => ({ id })) }
    },
  }
  const reader = new Reader(transport)
  const unread = new Set(Array.from({ length: 200 }, (_, n) => `${n}`))
  for (const id of unread)
    reader.plan(
      {
        id,
        known: { id },
        mergeRead: () => unread.delete(id),
        nextReadMs: () => Infinity,
        reportIssue() {},
        end: assert.fail,
      },
      0,
    )
  for (let n = 0; n < 100 && unread.size; n += 1) {
    now += 32_000
    mock.timers.tick(32_000)
    await settle()
  }
  assert.equal(unread.size, 0, `read ${sizes}`)
})
