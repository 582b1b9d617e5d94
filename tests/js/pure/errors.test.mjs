// The errors of responses: the same call may succeed later, or not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorOfResponse } from '../../../smelt/web/errors.js'

const errorOf = (error, status) => {
  const { code, transient } = errorOfResponse({ message: '', ...error }, status)
  return [code, transient]
}

test('a lost connection is transient: of the client, or of PostgREST to the database', () => {
  assert.deepEqual(errorOf({ code: '' }, 0), ['connection_lost', true])
  assert.deepEqual(errorOf({ code: '', hint: null }, 400), ['connection_lost', true])
})

test('other errors are transient by the status, and have the stable code of the hint', () => {
  assert.deepEqual(errorOf({ code: 'PT409', hint: 'too_many_open' }, 409), ['too_many_open', false])
  assert.deepEqual(errorOf({ code: '22P02' }, 400), ['22P02', false])
  assert.deepEqual(errorOf({ code: 'PGRST001' }, 503), ['PGRST001', true])
  assert.deepEqual(errorOf({}, 401), ['unauthorized', true])
})
