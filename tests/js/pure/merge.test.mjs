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

test('progress with segments of several files emits them before it', () => {
  const of = (file_id, index) => ({ file_id, index, start: index, end: index + 1, text: `word ${index}` })
  const payload = {
    ...{ smelt_id: SMELT, seq: 5, run: 1, attempt: 1, status: 'transcribing', files: [] },
    progress: { percentage: 40, stage: 'transcribing', message: 'Transcribing audio...' },
    segments: [of('a', 0), of('b', 1), of('a', 1)],
  }
  const first = merge(initialState(SMELT), { type: 'event', event: 'progress', payload })
  assert.deepEqual(
    first.updates.map(({ type, file_id }) => [type, file_id]),
    [
      ['segments', 'a'],
      ['progress', undefined],
    ],
  )
  assert.deepEqual(
    first.state.segments.a.map(({ text, file_id }) => [text, file_id]),
    [
      ['word 0', undefined],
      ['word 1', undefined],
    ],
  )
  assert.ok(needsRead(first.state))
  // The segments of an older event fill the gap, its progress is ignored.
  const older = { ...payload, seq: 4, segments: [of('b', 0)] }
  const second = merge(first.state, { type: 'event', event: 'progress', payload: older })
  assert.deepEqual(
    second.updates.map(({ type, segments }) => [type, segments.length]),
    [['segments', 2]],
  )
  assert.ok(!needsRead(second.state))
})
