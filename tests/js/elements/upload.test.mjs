// <smelt-upload> through faults, against a project without a worker.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'
import { audio, limitUpload, shown, submit, text, withPage, withProxy } from './page.mjs'
import { claim, smeltsOf, stored } from './worker.mjs'

const MIB = 1024 * 1024
const SIZE = 20 * MIB
const PIECE = 6 * MIB
const ENDPOINT = '/storage/v1/upload/resumable'

let browser, folder, recording
const content = randomBytes(SIZE)
before(async () => {
  browser = skip ? null : await launch()
  folder = await mkdtemp(join(tmpdir(), 'smelt-upload-'))
  recording = join(folder, 'talk.ogg')
  await writeFile(recording, content)
})
after(async () => {
  await browser?.close()
  await rm(folder, { recursive: true })
})

/** Wait until `read` returns a value. */
async function until(read, what) {
  const end = Date.now() + 30_000
  for (;;) {
    const value = await read()
    if (value) return value
    assert.ok(Date.now() < end, `waited for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const userOf = (page) =>
  page.evaluate(async () => (await (await import('/supabase.js')).supabase.auth.getSession()).data.session.user.id)
const savedUploads = (page) => page.evaluate(() => JSON.parse(localStorage.getItem('smelt-uploads') ?? '[]').length)
const totalAbove = (percentage) =>
  `document.querySelector('smelt-upload').shadowRoot.querySelector('[part~=total]').ariaValueNow > ${percentage}`

/** Return the requests of a page for resumable uploads, with their offsets. */
function requestsOf(page) {
  const seen = []
  page.on('request', (request) => {
    if (!request.url().includes(ENDPOINT) || request.method() === 'OPTIONS') return
    seen.push([request.method(), Number(request.headers()['upload-offset'] ?? 0)])
  })
  return seen
}

/** Assert that one upload was created, that it went on, and never from an earlier byte. */
function assertContinued(seen, { asked = true } = {}) {
  const of = (expected) => seen.filter(([method]) => method === expected)
  assert.equal(of('POST').length, 1)
  if (asked) assert.ok(of('HEAD').length > 0)
  const offsets = of('PATCH').map(([, offset]) => offset)
  assert.deepEqual(offsets, offsets.toSorted((a, b) => a - b))
}

/** Assert that the file of the one smelt of the user is stored, and that nothing is left of the upload in the page. */
async function assertStored(page, id) {
  assert.deepEqual((await smeltsOf(await userOf(page))).map((smelt) => smelt.id), [id])
  const path = await page.evaluate(async (id) => {
    const { supabase } = await import('/supabase.js')
    const { data } = await supabase.from('smelt_files').select('id').eq('smelt_id', id)
    return `${id}/${data[0].id}/talk.ogg`
  }, id)
  assert.ok(content.equals(await stored(path)))
  await until(async () => (await savedUploads(page)) === 0, 'the end of what was saved')
}

describe('upload', { skip, concurrency: 2 }, () => {
  test('a visitor uploads a recording and gets the result', () =>
    withPage(
      browser,
      async (page) => {
        const job = await claim(await submit(page, audio('a.ogg')))
        await job.complete({ 0: 'Notes of a visitor.' })
        await shown(page, 'smelt-progress[completed]')
        assert.match(await text(page, 'smelt-result [part=content]'), /Notes of a visitor/)
      },
      { signedIn: false },
    ))

  test('a cancel during the announcement cancels the smelt, also with a key of the app', () =>
    withProxy(browser, async (page, proxy) => {
      const user = await userOf(page)
      await page.evaluate(() => {
        document.querySelector('smelt-upload').request = { idempotencyKey: crypto.randomUUID() }
      })
      proxy.holdAt('POST /rest/v1/rpc/create_smelt')
      await page.setInputFiles('smelt-upload input', audio('a.ogg'))
      await until(async () => (await smeltsOf(user)).length === 1, 'a smelt')
      await page.locator('smelt-upload').getByRole('button', { name: 'Cancel' }).click()
      await shown(page, 'smelt-upload:not([uploading]) [part~=zone]')
      proxy.release()
      await until(async () => (await smeltsOf(user))[0].error_code === 'cancelled', 'the cancellation')
      assert.equal(await savedUploads(page), 0)
    }))

  test('an upload goes on after the page was reloaded', () =>
    withPage(browser, async (page) => {
      await limitUpload(page, 16 * MIB)
      await page.setInputFiles('smelt-upload input', recording)
      await page.waitForFunction(totalAbove(45))
      await page.reload()
      const seen = requestsOf(page)
      const id = await submit(page, recording)
      const [[method], [, offset]] = seen
      assert.equal(method, 'HEAD')
      assert.ok(offset >= PIECE, `${offset}`)
      const rest = []
      for (let from = offset; from < SIZE; from += PIECE) rest.push(['PATCH', from])
      assert.deepEqual(seen.slice(1), rest)
      await assertStored(page, id)
    }))

  test('an interrupted upload whose smelt was cancelled is tried again with a new one', () =>
    withPage(browser, async (page) => {
      await limitUpload(page, 8 * MIB)
      await page.setInputFiles('smelt-upload input', recording)
      await page.waitForFunction(totalAbove(10))
      await page.reload()
      const [{ id }] = await smeltsOf(await userOf(page))
      await page.evaluate((id) => document.querySelector('smelt-upload').client.cancel(id), id)
      await page.setInputFiles('smelt-upload input', recording)
      await shown(page, 'smelt-upload[failed] [part~=error]:has-text("cancelled")')
      await limitUpload(page, -1)
      await page.getByRole('button', { name: 'Try again' }).click()
      await shown(page, 'smelt-progress[waiting]')
      assert.notEqual(await page.evaluate(() => location.hash.slice(1)), id)
      await until(async () => (await savedUploads(page)) === 1, 'the end of the key') // The lost upload expires.
    }))

  test('an upload goes on after a cut', () =>
    withProxy(browser, async (page, proxy) => {
      const seen = requestsOf(page)
      proxy.cutAfter(9 * MIB)
      const id = await submit(page, recording)
      // Chromium itself repeats a request whose reused connection was reset.
      assertContinued(seen, { asked: false })
      await assertStored(page, id)
    }))

  test('an upload goes on after a connection that has stalled', () =>
    withProxy(browser, async (page, proxy) => {
      await page.evaluate(() => (document.querySelector('smelt-upload').request = { timeoutMs: 2000 }))
      const seen = requestsOf(page)
      proxy.stallAfter(9 * MIB)
      const id = await submit(page, recording)
      assertContinued(seen)
      await assertStored(page, id)
    }))

  test('ids of uploads without a key are not saved', () =>
    withPage(browser, async (page) => {
      const saved = await page.evaluate(async (size) => {
        const [{ supabase }, { connectSmelt }] = await Promise.all([import('/supabase.js'), import('/smelt/index.js')])
        const saved = []
        const files = [new File([new Uint8Array(size)], 'talk.ogg', { type: 'audio/ogg' })]
        const onUpload = () => saved.push(localStorage.getItem('smelt-uploads'))
        await (await connectSmelt({ supabase }).create({ files, onUpload })).cancel()
        return saved
      }, PIECE + 1)
      assert.ok(saved.length > 2)
      assert.deepEqual([...new Set(saved)], [null])
    }))

  test('what is saved of an upload that is cancelled is removed', () =>
    withPage(browser, async (page) => {
      await limitUpload(page, 8 * MIB)
      await page.setInputFiles('smelt-upload input', recording)
      await page.waitForFunction(totalAbove(10))
      assert.equal(await savedUploads(page), 2)
      await page.locator('smelt-upload').getByRole('button', { name: 'Cancel' }).click()
      await until(async () => (await savedUploads(page)) === 0, 'the end of what was saved')
    }))
})
