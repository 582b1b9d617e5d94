// Creating with a key while an equal call is in progress.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SmeltError } from '../../../smelt/web/errors.js'
import { createSmelt } from '../../../smelt/web/upload.js'

const created = { id: 'one', files: [{ id: 'file', upload_path: 'one/file/a.mp3' }] }
const request = { files: [new File(['sound'], 'a.mp3')], idempotencyKey: 'key', timeoutMs: 1000 }

/** A project in which the upload is rejected, and the smelt has been submitted by then if `submittedBy` is 'another'. */
function project({ submittedBy }) {
  const calls = []
  let rejected = false
  return {
    calls,
    call: async (name) => {
      calls.push(name)
      if (name === 'create_smelt') return created
      if (name === 'get_smelt') return { status: 'pending', submitted_at: rejected && submittedBy ? 'now' : null }
      throw new Error(`unexpected ${name}`)
    },
    upload: async () => {
      rejected = true
      throw new SmeltError('forbidden', 'new row violates row-level security policy', { status: 403 })
    },
  }
}

test('a rejected upload is a success if an equal call has submitted the smelt', async () => {
  const transport = project({ submittedBy: 'another' })
  assert.equal(await createSmelt(transport, request), created)
  assert.deepEqual(transport.calls, ['create_smelt', 'get_smelt', 'get_smelt'])
})

test('a rejected upload is an error otherwise', async () => {
  await assert.rejects(createSmelt(project({}), request), { code: 'forbidden', status: 403 })
})
