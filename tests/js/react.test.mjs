// The hooks in Chromium with react-dom in StrictMode, against a project with a worker.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { bundle, launch, serveBundle, skip } from './chromium.mjs'
import { startProxy } from './proxy.mjs'

const TIMEOUT_MS = 60_000

/** Run a test with a page of the components; `joined` is the topic of each join that the page has sent. */
async function withPage(browser, files, run, url) {
  const server = await serveBundle(files, url)
  const context = await browser.newContext()
  try {
    const page = await context.newPage()
    const errors = []
    const joined = []
    const requests = []
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()))
    page.on('pageerror', (error) => errors.push(String(error)))
    page.on('request', (request) =>
      requests.push(`${request.method()} ${new URL(request.url()).pathname.replace(/[0-9a-f-]{36}.*/, ':id')}`),
    )
    page.on('websocket', (socket) =>
      socket.on('framesent', ({ payload }) => {
        const [, , topic, event] = JSON.parse(payload)
        if (event === 'phx_join') joined.push(topic.replace('realtime:', ''))
      }),
    )
    await page.goto(server.url)
    await page.waitForFunction(() => window.render)
    await run(page, { errors, joined, requests })
  } finally {
    await context.close()
    server.close()
  }
}

/** Wait for a recorded state that fulfills a condition: an expression over `state`; return all recorded ones. */
async function recorded(page, name, condition) {
  try {
    await page.waitForFunction(`(states['${name}'] ?? []).some((state) => ${condition})`, null, { timeout: TIMEOUT_MS })
  } catch (cause) {
    const last = await page.evaluate((name) => JSON.stringify(window.states[name]?.at(-1)), name)
    throw new Error(`no ${name} with ${condition}; the last one is ${last}`, { cause })
  }
  return page.evaluate((name) => window.states[name], name)
}

const signUp = (page) =>
  page.evaluate(() =>
    window.supabase.auth.signUp({ email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }),
  )

/** Announce a smelt that is not submitted: it stays pending. */
const announce = (page) =>
  page.evaluate(
    async () => (await window.supabase.rpc('create_smelt', { files: [{ filename: 'a.ogg', size_bytes: 10 }] })).data.id,
  )

const noChannels = (page) =>
  page.waitForFunction(() => window.supabase.getChannels().length === 0, null, { timeout: TIMEOUT_MS })

function assertNeverBack(states) {
  const percentages = states.map(({ progress }) => progress?.percentage ?? 0)
  assert.deepEqual(
    percentages,
    percentages.toSorted((a, b) => a - b),
  )
}

describe('hooks', { skip, concurrency: 3 }, () => {
  let browser
  const bundles = {}

  before(async () => {
    browser = await launch()
    bundles[19] = await bundle('react/page.jsx')
    bundles[18] = await bundle('react/page.jsx', { react: 'react-18', 'react-dom': 'react-dom-18' })
  })
  after(() => browser?.close())

  for (const version of [19, 18]) {
    test(`React ${version} uploads once, joins once and shows progress and results`, () =>
      withPage(browser, bundles[version], async (page, { errors, joined, requests }) => {
        assert.match(await page.evaluate(() => window.version), new RegExp(`^${version}`))
        await page.evaluate(() => window.render('Upload'))
        const states = await recorded(page, 'subscription', "state.status === 'completed'")
        assert.equal(await page.evaluate(() => window.mounts.upload), 2, 'StrictMode mounts twice')
        assert.deepEqual(Object.keys(states[0]).toSorted(), ['error', 'progress', 'results', 'status'])
        assert.deepEqual(states[0], { status: 'pending', progress: null, results: null, error: null })
        assert.ok(
          states.some(({ status, progress }) => status === 'processing' && progress.message),
          JSON.stringify(states),
        )
        assert.deepEqual(states.at(-1).progress, { percentage: 100, stage: 'completed', message: 'Complete' })
        assertNeverBack(states)
        assert.equal(await page.textContent('h2'), 'Complete!')
        assert.equal(await page.textContent('h3'), 'decision.ogg')
        assert.match(await page.textContent('pre'), /report/i)
        const uploads = (await page.evaluate(() => window.states.upload)).map((state) => JSON.parse(state))
        assert.deepEqual(uploads[0], { isUploading: false, progress: null, id: null, error: null })
        assert.ok(uploads.some(({ isUploading, progress }) => isUploading && progress?.loaded > 0))
        assert.deepEqual(joined, [`smelt:${uploads.at(-1).id}`])
        for (const path of [
          '/rest/v1/rpc/create_smelt',
          '/storage/v1/object/smelt-audio/:id',
          '/rest/v1/rpc/submit_smelt',
        ]) {
          assert.equal(requests.filter((request) => request === `POST ${path}`).length, 1, `${path} in ${requests}`)
        }
        await noChannels(page)
        assert.deepEqual(errors, [])
      }))
  }

  test('components share the channel of a smelt, and leave it when the id changes or they unmount', () =>
    withPage(browser, bundles[19], async (page, { errors, joined }) => {
      await page.evaluate(() => window.supabase.auth.signInAnonymously())
      const [first, second] = [await announce(page), await announce(page)]
      const show = (id) => page.evaluate((id) => window.render('Pair', { id }), id)
      await show(null)
      await recorded(page, 'second', "state.connection === 'idle'")
      await show(first)
      for (const name of ['first', 'second'])
        await recorded(page, name, `state.id === '${first}' && state.connection === 'live'`)
      assert.deepEqual(joined, [`smelt:${first}`])
      await show(second)
      await recorded(page, 'first', `state.id === '${second}' && state.connection === 'live'`)
      await page.waitForFunction(() => window.supabase.getChannels().length === 1)
      const mounts = await page.evaluate(() => window.mounts.first)
      await page.evaluate((id) => window.render('Pair', { id, key: 'another' }), second)
      await page.waitForFunction((mounts) => window.mounts.first > mounts, mounts)
      await page.waitForFunction(() => window.states.first.at(-1).connection === 'live')
      assert.deepEqual(joined, [`smelt:${first}`, `smelt:${second}`])
      await page.click('#first-cancel')
      const states = await recorded(page, 'second', "state.status === 'failed' && state.connection === 'closed'")
      assert.equal(states.at(-1).error.code, 'cancelled')
      await show(first)
      await recorded(page, 'first', `state.id === '${first}' && state.files[0]?.filename === 'a.ogg'`)
      await page.evaluate(() => window.render(null))
      await noChannels(page)
      assert.deepEqual(errors, [])
    }))

  test('a lost connection is polling, and never a failure', async () => {
    const proxy = await startProxy()
    try {
      await withPage(
        browser,
        bundles[19],
        async (page, { joined }) => {
          await page.evaluate(() => window.supabase.auth.signInAnonymously())
          const id = await announce(page)
          await page.evaluate((id) => window.render('Pair', { id }), id)
          await recorded(page, 'first', "state.connection === 'live'")
          proxy.cut()
          await recorded(page, 'first', "state.connection === 'polling'")
          proxy.restore()
          await page.waitForFunction(() => window.states.first.at(-1).connection === 'live', null, {
            timeout: TIMEOUT_MS,
          })
          for (const name of ['first', 'second subscription']) {
            const states = await page.evaluate((name) => window.states[name], name)
            assert.deepEqual([...new Set(states.map(({ status, error }) => `${status} ${error}`))], ['pending null'])
          }
          assert.ok(joined.length >= 2 && joined.every((topic) => topic === `smelt:${id}`), joined.join())
        },
        proxy.url,
      )
    } finally {
      proxy.close()
    }
  })

  test('a missing smelt and a rejected upload are errors', () =>
    withPage(browser, bundles[19], async (page) => {
      await page.evaluate(() => {
        window.render('SmeltProgress', { smeltId: crypto.randomUUID() })
      })
      await page.waitForSelector('.error', { timeout: TIMEOUT_MS })
      assert.match(await page.textContent('.error'), /does not exist/)
      await page.evaluate(() => window.render('Upload', { file: new File(['text'], 'a.exe') }))
      const states = await recorded(page, 'upload', "JSON.parse(state).error?.code === 'invalid_format'")
      assert.equal(JSON.parse(states.at(-1)).isUploading, false)
      // StrictMode runs the effect twice: both calls are one upload.
      assert.deepEqual(await page.evaluate(() => window.outcomes), ['invalid_format', 'invalid_format'])
    }))

  test('lists, notifications, batch and connection follow the work of the user', () =>
    withPage(browser, bundles[19], async (page, { errors, joined }) => {
      await signUp(page)
      const batch = await page.evaluate(async () => (await window.smelt.createBatch('Two')).id)
      await page.evaluate((batch) => window.render('Overview', { batch }), batch)
      await recorded(page, 'smelts', "state.isLoaded && state.connection === 'live'")
      await recorded(page, 'connection', 'state.isConnected')
      const id = await page.evaluate(
        async (batchId) =>
          (await window.smelt.create({ text: 'We decided to publish the report on Friday.', batchId })).id,
        batch,
      )
      await recorded(page, 'smelts', `state.counts.completed === 1 && state.smelts[0].id === '${id}'`)
      await recorded(page, 'batch', "state.batch?.status === 'completed'")
      await recorded(page, 'notifications', 'state.unreadCount > 0')
      await page.click('#read')
      await page.waitForFunction(() => window.states.notifications.at(-1).unreadCount === 0, null, {
        timeout: TIMEOUT_MS,
      })
      assert.equal(new Set(joined).size, joined.length, joined.join())
      await page.evaluate(() => window.render(null))
      await noChannels(page)
      assert.deepEqual(errors, [])
    }))

  test('provider, polled queries and DOM events follow the work of the user', () =>
    withPage(browser, bundles[19], async (page, { errors }) => {
      await signUp(page)
      await page.evaluate(() => window.render('Dashboard'))
      await page.waitForFunction(
        () => document.getElementById('connection').textContent === 'Status: Connected',
        null,
        { timeout: TIMEOUT_MS },
      )
      const id = await page.evaluate(
        async () => (await window.smelt.create({ text: 'We decided to publish the report on Friday.' })).id,
      )
      const shown = `document.getElementById('smelts').textContent === '${id}: completed'`
      await page.waitForFunction(shown, null, { timeout: TIMEOUT_MS })
      assert.match(await page.textContent('#update'), /^smelt-feed:\S+ UPDATE$/)
      assert.deepEqual(errors, [])
    }))

  test('subscriptions without a framework end with the results', () =>
    withPage(browser, bundles[19], async (page) => {
      const lines = await page.evaluate(async () => {
        const { follow, followWithRetry, Follower } = window.vanilla
        const job = await window.smelt.create({ files: [window.recording] })
        const logs = [[], [], []]
        const ended = logs.map(
          (log, n) =>
            new Promise((resolve) => {
              const add = (line) => log.push(line) && line.startsWith('Complete!') && resolve()
              if (n < 2) [follow, followWithRetry][n](window.supabase, job.id, add)
              else new Follower(window.supabase, job.id, add).start()
            }),
        )
        const stopped = new Follower(window.supabase, job.id, (line) => logs[0].push(`after stop: ${line}`))
        stopped.start()
        stopped.stop()
        await Promise.all(ended)
        return logs
      })
      for (const log of lines) {
        assert.match(log.at(-1), /^Complete! .*report/is)
        assert.ok(log.slice(0, -1).every((line) => /^Progress: [\d.]+%$/.test(line)) && log.length > 2, log.join('\n'))
      }
      await noChannels(page)
    }))
})
