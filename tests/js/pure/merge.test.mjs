// The merge of the package has the results of Python's timeline, which has written the cases.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { endingRun, initialState, known, merge, needsRead } from '../../../smelt/web/merge.js'

const SMELT = '00000000-0000-0000-0000-000000000001'
const cases = (await readFile(new URL('../../contract/merge.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))

/** Freeze a value deeply: a change of it throws. */
function frozen(value) {
  if (value && typeof value === 'object' && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(frozen)
  return value
}

test(`merge has the results of Python in ${cases.length} cases`, () => {
  assert.ok(cases.length > 100)
  cases.forEach((steps, n) => {
    let state = frozen(initialState(SMELT))
    steps.forEach(({ news, ...expected }, step) => {
      const { state: next, updates } = merge(state, frozen(news))
      state = frozen(next)
      const result = { updates, known: known(state), needs_read: needsRead(state), ending_run: endingRun(state) }
      assert.deepEqual(result, expected, `line ${n + 1}, step ${step}`)
    })
  })
})
