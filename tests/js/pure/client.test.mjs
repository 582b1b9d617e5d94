// The client keeps no state that nothing refers to.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { connectSmelt } from '../../../smelt/web/index.js'
import { Project, until } from './project.mjs'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

test('states that nothing refers to are forgotten', async (t) => {
  const forgotten = new Set()
  const { delete: remove } = Map.prototype
  t.mock.method(Map.prototype, 'delete', function (key) {
    forgotten.add(key)
    return remove.call(this, key)
  })
  const smelt = connectSmelt({ transport: new Project() })
  const ids = Array.from({ length: 100 }, () => crypto.randomUUID())
  for (const id of ids) smelt.job(id)
  const kept = smelt.batch(ids[0])
  await until(() => {
    collectGarbage()
    return ids.every((id) => forgotten.has(id))
  }, 'the states to be forgotten')
  assert.equal(smelt.batch(ids[0]), kept)
})
