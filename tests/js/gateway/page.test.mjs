// The page of the gateway in Chromium, against a project without a worker: the test acts as one.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'
import { assertAccessible, audio, shown, text } from '../elements/page.mjs'
import { claim } from '../elements/worker.mjs'
import { startProxy } from '../proxy.mjs'
import { newEmail, PASSWORD } from './users.mjs'

const { SMELT_GATEWAY, SMELT_RECORDING, SMELT_SIGNING_KEYS } = process.env
const TIMEOUT_MS = 30_000
const NOTES = '# Decisions\n\n- [x] **Publish** the report\n- [ ] Ask [Kim](https://example.com/kim)'
const MARKUP = '<img src=x onerror=document.title="hacked">'

let browser
before(async () => {
  browser = skip ? null : await launch()
})
after(() => browser?.close())

/** Run a test with a page of a browser of its own; errors of the page fail it, except those that match `expects`. */
async function withPage(run, { path = '/', gateway = SMELT_GATEWAY, expects, ...options } = {}) {
  const context = await browser.newContext(options)
  try {
    const page = await context.newPage()
    page.setDefaultTimeout(TIMEOUT_MS)
    const errors = []
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()))
    page.on('pageerror', (error) => errors.push(String(error)))
    await open(page, gateway + path)
    await run(page)
    assert.deepEqual(
      errors.filter((error) => !expects?.test(error)),
      [],
    )
  } finally {
    await context.close()
  }
}

async function open(page, url) {
  await page.goto(url)
  await page.waitForSelector('html[data-ready]')
}

/** Choose files; return the id of the smelt once the page shows it. */
async function submit(page, ...files) {
  await page.setInputFiles('smelt-upload input', files)
  await page.waitForURL(/\?id=/)
  return new URL(page.url()).searchParams.get('id')
}

async function signUp(page, email = newEmail()) {
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByLabel('Email').fill(email)
  await page.getByLabel('Password').fill(PASSWORD)
  await assertAccessible(page, 'sign in')
  await page.getByRole('button', { name: 'Create account' }).click()
  await page.getByRole('button', { name: email }).waitFor()
  return email
}

/** Return the text of the element with the focus, in a page. */
function focusedText() {
  const { activeElement: outer } = document
  return (outer.shadowRoot?.activeElement ?? outer).textContent.trim().split(/\s{2,}/)[0]
}

/** Return a read-only token of a smelt that expires in so many seconds. */
function readToken(id, seconds) {
  const payload = `${id.replaceAll('-', '')}.${Math.floor(Date.now() / 1000) + seconds}`
  const hmac = createHmac('sha256', SMELT_SIGNING_KEYS).update(`read\0${payload}`)
  return `${payload}.${hmac.digest('base64url')}`
}

const titled = (page, title) => page.waitForFunction((title) => document.title.startsWith(title), title)
const selectedTab = (page) => text(page, '[role=tab][aria-selected=true]')

// Before any other test: no worker has run yet.
test('upload without a sign-in, waiting without a worker, working, reload, completed', { skip }, () =>
  withPage(async (page) => {
    await assertAccessible(page, 'empty')
    await page.getByText('Options').click()
    await page.getByLabel('Language').selectOption('en')
    await page.getByLabel('Detailed notes').check()
    await page.getByLabel('Names and terms').fill('Kim, Emma')
    await assertAccessible(page, 'options')
    const id = await submit(page, SMELT_RECORDING)
    await shown(page, 'smelt-progress[waiting]')
    await page.getByText('No worker is running.').waitFor()
    assert.equal(await text(page, '#account'), 'Without an account')
    await titled(page, '0 % · decision.ogg')
    await assertAccessible(page, 'waiting')

    const job = await claim(id)
    assert.deepEqual(job.options, { language: 'en', vocabulary: ['Kim', 'Emma'] })
    assert.deepEqual(job.prompts, ['summarize', 'action_items', 'detailed_notes'])
    await job.report('transcribing', 40, { texts: { 0: ['We decided.', { text: 'Kim will ask.', start: 3 }] } })
    await page.getByText('Kim will ask.').first().waitFor()
    await titled(page, '40 % · decision.ogg')
    assert.equal(await page.getByText('No worker is running.').isVisible(), false)
    assert.equal(await selectedTab(page), 'Transcript')
    await assertAccessible(page, 'working')
    const times = page.locator('smelt-transcript button[part=time]')
    await times.first().focus()
    await page.keyboard.press('ArrowDown')
    assert.equal(await page.evaluate(focusedText), '0:03')
    assert.deepEqual(await times.evaluateAll((all) => all.map(({ tabIndex }) => tabIndex)), [-1, 0])
    await page.keyboard.press('Enter')
    await page.waitForFunction(() => document.querySelector('audio').currentTime >= 3)
    await times.first().click()
    await page.waitForFunction(() => document.querySelector('audio').currentTime < 3)

    await page.reload()
    await page.getByText('Kim will ask.').first().waitFor()
    await titled(page, '40 % · decision.ogg')
    assert.equal(await page.locator('audio').isVisible(), false) // The recording is not in the new page.
    assert.equal(await times.count(), 0)

    const trust = { silence_seconds: 0, low_confidence_segments: [1], repeated_segments: [] }
    await page.getByRole('searchbox').focus()
    const output = { file_id: job.files[0].id, position: 0, title: 'Summary', is_complete: false }
    await job.report('synthesizing', 80, {
      files: [{ position: 0, status: 'completed', transcribed: true, trust }],
      outputs: [{ ...output, content: 'Kim and Emma' }],
    })
    await page.getByRole('tab', { name: 'Notes' }).waitFor()
    assert.equal(await selectedTab(page), 'Transcript') // It has the focus.
    await page.getByRole('tab', { name: 'Notes' }).click()
    await page.getByText('Kim and Emma').waitFor()
    await job.complete({ 0: NOTES })
    await titled(page, 'Done · decision.ogg')
    assert.equal(await selectedTab(page), 'Notes')
    assert.deepEqual(await page.locator('smelt-result li').allTextContents(), ['☑ Publish the report', '☐ Ask Kim'])
    await assertAccessible(page, 'completed')
    await page.getByRole('tab', { name: 'Notes' }).press('ArrowRight')
    assert.equal(await selectedTab(page), 'Transcript')
    assert.match(await text(page, 'smelt-transcript [part~=doubtful]'), /Kim will ask\. \(unsure\)/)
    const [saved] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download text' }).click(),
    ])
    assert.equal(saved.suggestedFilename(), 'decision.txt')
    await page.getByRole('tab', { name: 'Captions' }).click()
    assert.match(await text(page, '#captions-text'), /^1\n00:00:00,000 --> 00:00:03,000\nWe decided\./)
    await page.getByLabel('Format').selectOption('vtt')
    assert.match(await text(page, '#captions-text'), /^WEBVTT/)
    await assertAccessible(page, 'captions')
    await page.emulateMedia({ colorScheme: 'dark' })
    await assertAccessible(page, 'captions, dark')
    assert.match(await text(page, '#history-list li[data-state=Done]'), /decision\.ogg/)

    await page.getByRole('link', { name: 'New transcription' }).click()
    await shown(page, '#start')
    await page.goBack()
    await titled(page, 'Done · decision.ogg')
  }),
)

describe('page', { skip, concurrency: 3 }, () => {
  test('partial end and failure are shown, a cancelled one is tried again', () =>
    withPage(async (page) => {
      await page.evaluate(() => localStorage.clear())
      await signUp(page)
      const id = await submit(page, audio('first.ogg'), audio('second.ogg'))
      const job = await claim(id)
      await job.report('transcribing', 30, { texts: { 0: ['Kept words.'] } })
      await page.getByText('Kept words.').first().waitFor()
      await page.getByRole('button', { name: 'Cancel' }).click()
      await titled(page, 'Cancelled · first.ogg and 1 more')
      assert.match(await text(page, '#kept'), /transcript so far of first\.ogg was kept/)
      await assertAccessible(page, 'cancelled')
      await page.getByRole('button', { name: 'Try again' }).click()
      await shown(page, 'smelt-progress[processing]')
      const again = await claim(id)
      const failed = { position: 1, status: 'failed', error_code: 'corrupted_file' }
      await again.report('transcribing', 50, { files: [failed] })
      await again.complete({ 0: 'Some notes' })
      await titled(page, 'Partly done')
      await shown(page, 'smelt-progress[partial]')
      await assertAccessible(page, 'partial')

      await page.getByRole('link', { name: 'New transcription' }).click()
      const failing = await submit(page, audio('broken.ogg'))
      await (await claim(failing)).fail('corrupted_file')
      await titled(page, 'Failed · broken.ogg')
      assert.equal(await page.locator('#views').isVisible(), false)
      assert.match(await text(page, 'smelt-progress [part~=error]'), /damaged/)
      assert.equal(await page.getByRole('button', { name: 'Try again' }).isVisible(), false)
      await assertAccessible(page, 'failed')
    }))

  test('a shared link is read without a sign-in and without actions', () =>
    withPage(
      async (owner) => {
        const id = await submit(owner, audio('shared.ogg'))
        const job = await claim(id)
        await job.report('transcribing', 30, { texts: { 0: ['Spoken before.'] } })
        await owner.context().grantPermissions(['clipboard-read', 'clipboard-write'])
        await owner.getByRole('button', { name: 'Share' }).click()
        await owner.getByText('can read this transcription for 15 minutes').waitFor()
        const link = await owner.evaluate(() => navigator.clipboard.readText())
        assert.ok(link.startsWith(`${SMELT_GATEWAY}/?id=${id}#token=`), link)
        assert.equal(await owner.getByLabel('Link for reading').inputValue(), link)
        await assertAccessible(owner, 'shared')
        await withPage(
          async (reader) => {
            const calls = []
            reader.on('request', (request) => calls.push(`${request.method()} ${new URL(request.url()).pathname}`))
            await reader.reload()
            await reader.getByText('You are reading a shared transcription.').waitFor()
            await reader.getByText('Spoken before.').first().waitFor()
            const buttons = reader.getByRole('button', { name: /Cancel|Try again|Share|Sign in/ })
            assert.equal(await buttons.count(), 0)
            await assertAccessible(reader, 'reading')
            await job.report('transcribing', 60, { texts: { 0: ['Spoken after.'] } })
            await reader.getByText('Spoken after.').first().waitFor()
            await owner.getByRole('button', { name: 'Cancel' }).click()
            await titled(reader, 'Cancelled · shared.ogg')
            assert.equal(await buttons.count(), 0)
            assert.equal(await text(reader, '#kept'), 'The transcript so far of shared.ogg was kept.')
            const others = calls.filter((call) => call.includes('/api/') && !call.startsWith(`GET /api/smelts/${id}`))
            assert.deepEqual(others, [])
            await reader.getByRole('link', { name: 'New transcription' }).click()
            await reader.waitForURL(`${SMELT_GATEWAY}/`)
            await reader.getByRole('button', { name: 'Sign in' }).waitFor()
          },
          { path: link.replace(SMELT_GATEWAY, '') },
        )
      },
    ))

  test('an expired link is reported and keeps the text so far, and a damaged one is not valid', () =>
    withPage(async (owner) => {
      const id = await submit(owner, audio('expiring.ogg'))
      const job = await claim(id)
      await job.report('transcribing', 30, { texts: { 0: ['Spoken before.'] } })
      await withPage(
        async (reader) => {
          await reader.getByText('Spoken before.').first().waitFor()
          await reader.getByText('This link has expired, and the state below is not updated.').waitFor()
          assert.equal(await reader.getByText('Spoken before.').first().isVisible(), true)
          assert.equal(await reader.locator('smelt-progress').isVisible(), false)
          await assertAccessible(reader, 'expired')
          await reader.reload()
          await reader.getByRole('heading', { name: 'This link has expired' }).waitFor()
          await reader.goto(`${SMELT_GATEWAY}/?id=${id}#token=nonsense`)
          await reader.getByRole('heading', { name: 'This link is not valid' }).waitFor()
        },
        { path: `/?id=${id}#token=${readToken(id, 20)}`, expects: /401/ },
      )
    }))

  test('a gateway without signing keys offers no link, and audio that was not submitted is not tried again', () =>
    withPage(
      async (page) => {
        await page.route('**/config.json', async (route) => {
          const response = await route.fetch()
          await route.fulfill({ response, json: { ...(await response.json()), read_tokens: false } })
        })
        await open(page, SMELT_GATEWAY)
        await submit(page, audio('sent.ogg'))
        await shown(page, 'smelt-progress[waiting]')
        assert.equal(await page.getByRole('button', { name: 'Share' }).isVisible(), false)
        await page.getByRole('button', { name: 'Cancel' }).click()
        await page.getByRole('button', { name: 'Try again' }).waitFor()
        await page.evaluate(async () => {
          const { access_token } = JSON.parse(localStorage.getItem('smelt-session'))
          const post = async (path, body) => {
            const headers = { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' }
            return (await fetch(path, { method: 'POST', headers, body })).json()
          }
          const files = [{ filename: 'unsent.ogg', size_bytes: 1000 }]
          const { id } = await post('/api/smelts', JSON.stringify({ files }))
          await post(`/api/smelts/${id}/cancel`)
        })
        await open(page, SMELT_GATEWAY)
        await page.locator('#history-list').getByText('unsent.ogg').click()
        await page.getByRole('link', { name: 'Upload again' }).waitFor()
        assert.equal(await page.getByRole('button', { name: 'Try again' }).isVisible(), false)
        await page.locator('#history-list').getByText('sent.ogg', { exact: true }).click()
        await page.getByRole('button', { name: 'Try again' }).waitFor()
      },
    ))

  test('a cut network leaves the last state and is shown; the page goes on by itself', async () => {
    const proxy = await startProxy(SMELT_GATEWAY)
    try {
      await withPage(
        async (page) => {
          const id = await submit(page, audio('cut.ogg'))
          const job = await claim(id)
          await job.report('transcribing', 30, { texts: { 0: ['before'] } })
          await page.getByText('before').first().waitFor()
          proxy.cut()
          await page.getByText('Connection lost, updating every few seconds').waitFor()
          assert.equal(await page.getByText('before').first().isVisible(), true)
          await assertAccessible(page, 'connection lost')
          await job.report('transcribing', 60, { texts: { 0: ['meanwhile'] } })
          proxy.restore()
          await page.getByText('meanwhile').first().waitFor()
          await shown(page, 'smelt-progress[connected]')
          await job.complete({ 0: 'Notes' })
          await titled(page, 'Done · cut.ogg')
        },
        { gateway: proxy.url, expects: /ERR_/ },
      )
    } finally {
      proxy.close()
    }
  })

  test('an upload that would end after a sign-out does not show its smelt', () =>
    withPage(
      async (page) => {
        const email = await signUp(page)
        const held = new Promise((hold) => page.route(/\/submit$/, hold, { times: 1 }))
        await page.setInputFiles('smelt-upload input', audio('late.ogg'))
        const submission = await held
        const response = await submission.fetch()
        await page.getByRole('button', { name: email }).click()
        await page.getByRole('button', { name: 'Sign out' }).click()
        await page.getByRole('button', { name: 'Sign in' }).waitFor()
        await submission.fulfill({ response }).catch(() => {}) // The page may have cancelled it.
        await page.locator('smelt-upload:not([uploading])').waitFor()
        assert.equal(new URL(page.url()).search, '')
        assert.ok(await page.locator('#start').isVisible())
      },
      { expects: /40[0-9]/ },
    ))

  test('two users see their own transcriptions and notifications alone', () =>
    withPage((first) =>
      withPage(
        async (second) => {
          const email = await signUp(first)
          await signUp(second)
          const id = await submit(first, audio('mine.ogg'))
          await first.getByRole('link', { name: 'smelt' }).click()
          await first.locator('#history-list').getByText('mine.ogg').waitFor()
          await open(second, `${SMELT_GATEWAY}/?id=${id}`)
          await second.getByText('This transcription is gone').waitFor()
          assert.equal(await second.locator('smelt-progress').isVisible(), false)
          await assertAccessible(second, 'gone')
          await (await claim(id)).complete({ 0: 'Notes' })
          await first.getByRole('button', { name: 'Notifications 1' }).click()
          await assertAccessible(first, 'notifications')
          await first.locator('#notification-list a').click()
          await titled(first, 'Done · mine.ogg')
          await first.locator('#unread').waitFor({ state: 'hidden' })
          assert.equal(await second.locator('#unread').isVisible(), false)
          assert.equal(await second.locator('#history').isVisible(), false)

          // The page reads the history again; the response arrives after the user has signed out.
          const list = /\/api\/smelts\?/
          const requested = new Promise((hold) => first.route(list, hold, { times: 1 }))
          await submit(first, audio('late.ogg'))
          const route = await requested
          const response = await route.fetch()
          await first.getByRole('button', { name: email }).click()
          await first.getByRole('button', { name: 'Sign out' }).click()
          await shown(first, '#start')
          await first.locator('#history').waitFor({ state: 'hidden' })
          const arrived = first.waitForResponse(list)
          await route.fulfill({ response })
          await arrived
          await first.evaluate(() => new Promise(requestAnimationFrame))
          assert.equal(await first.locator('#history').isVisible(), false)
          await first.getByRole('button', { name: 'Sign in' }).click()
          await first.getByLabel('Email').fill(email)
          await first.getByLabel('Password').fill('another password')
          await first.locator('#sign-in button[value=sign-in]').click()
          await first.locator('#sign-in-error').waitFor()
          await first.getByLabel('Password').fill(PASSWORD)
          await first.locator('#sign-in button[value=sign-in]').click()
          await first.locator('#history-list').getByText('mine.ogg').waitFor()
        },
        { expects: /40[04]/ },
      ),
      { expects: /40[04]/ }, // The upload of `late.ogg` may end after the sign-out.
    ))

  test('an anonymous user keeps its transcriptions with a new account, in another browser as well', () =>
    withPage(async (page) => {
      await submit(page, audio('kept.ogg'))
      const email = newEmail()
      await page.getByRole('button', { name: 'Without an account' }).click()
      await page.getByLabel('Email').fill(email)
      await page.getByLabel('Password').fill(PASSWORD)
      await page.getByRole('button', { name: 'Create account' }).click()
      await page.getByRole('button', { name: email }).waitFor()
      await page.locator('#history-list').getByText('kept.ogg').waitFor()
      await withPage(async (other) => {
        await other.getByRole('button', { name: 'Sign in' }).click()
        await other.getByLabel('Email').fill(email)
        await other.getByLabel('Password').fill(PASSWORD)
        await other.locator('#sign-in button[value=sign-in]').click()
        await other.locator('#history-list').getByText('kept.ogg').waitFor()
      })
    }))

  test('markup, directions and long lines of names, transcripts and notes change nothing but text', () =>
    withPage(async (page) => {
      const name = '<b>\u202Egpj.ogg'
      const id = await submit(page, audio(name))
      const job = await claim(id)
      await job.report('transcribing', 30, { texts: { 0: [MARKUP, 'x'.repeat(3000)] } })
      await page.locator('smelt-transcript').getByText(MARKUP).waitFor()
      await job.complete({ 0: `${MARKUP}\n\n[a](javascript:alert(1))` })
      await titled(page, 'Done')
      assert.equal(await text(page, 'h1 bdi:visible, #work-title bdi'), name)
      assert.equal(await page.locator('img').count(), 0)
      assert.equal(await page.locator('smelt-result a').count(), 0)
      const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
      assert.equal(isWide, false)
    }, { viewport: { width: 320, height: 640 } }))

  test('pasted text becomes notes; keyboard alone reaches everything of the empty page', () =>
    withPage(async (page) => {
      await page.evaluate(() => {
        const clipboardData = new DataTransfer()
        clipboardData.setData('text/plain', 'We decided to publish the report.')
        document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, composed: true }))
      })
      assert.equal(await page.locator('#text-input').inputValue(), 'We decided to publish the report.')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      await page.waitForURL(/\?id=/)
      const id = new URL(page.url()).searchParams.get('id')
      await (await claim(id)).complete({ 0: 'Notes of the text' })
      await page.getByText('Notes of the text').waitFor()
      await page.goto(SMELT_GATEWAY)
      await page.waitForSelector('html[data-ready]')
      const reached = new Set()
      for (let n = 0; n < 12; n += 1) {
        await page.keyboard.press('Tab')
        reached.add(await page.evaluate(focusedText))
      }
      for (const label of ['smelt', 'Choose files', 'Options', 'Use a text']) assert.ok(reached.has(label), label)
    }))

  test('an id that is not one is gone, and an expired session is refreshed', () =>
    withPage(
      async (page) => {
        await page.getByText('This transcription is gone').waitFor()
        await page.getByRole('link', { name: 'New transcription' }).click()
        await submit(page, audio('again.ogg'))
        const expired = await page.evaluate(() => {
          const session = JSON.parse(localStorage.getItem('smelt-session'))
          localStorage.setItem('smelt-session', JSON.stringify({ ...session, expires_at: 1 }))
          return session.refresh_token
        })
        await page.reload()
        await shown(page, 'smelt-progress[waiting]')
        await page.waitForFunction(
          (expired) => JSON.parse(localStorage.getItem('smelt-session')).refresh_token !== expired,
          expired,
        )
        await titled(page, '0 % · again.ogg')
      },
      { path: '/?id=nonsense' },
    ))
})
