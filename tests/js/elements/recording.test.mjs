// Recordings of the microphone that could be lost, against a project without a worker.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'
import { assertAccessible, shown, withPage, withProxy } from './page.mjs'

let browser
before(async () => {
  browser = skip ? null : await launch(['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'])
})
after(() => browser?.close())

/** Record for a second; `window.tracks` are those of the microphone, `window.contexts` are those of level meters. */
async function record(page) {
  await page.evaluate(() => {
    window.contexts = []
    window.AudioContext = class extends AudioContext {
      constructor() {
        super()
        window.contexts.push(this)
      }
    }
    const { mediaDevices } = navigator
    const original = mediaDevices.getUserMedia.bind(mediaDevices)
    window.tracks = []
    mediaDevices.getUserMedia = async (constraints) => {
      const stream = await original(constraints)
      window.tracks.push(...stream.getTracks())
      return stream
    }
  })
  await page.getByRole('button', { name: 'Record' }).click()
  await shown(page, 'smelt-upload[recording] [part=recording-time]:not(:text("0:00"))')
}

/** Wait until the microphone and the level meter are released. */
const microphoneIsOff = (page) =>
  page.waitForFunction(
    () =>
      window.tracks.length > 0 &&
      window.tracks.every((track) => track.readyState === 'ended') &&
      window.contexts.length > 0 &&
      window.contexts.every(({ state }) => state === 'closed'),
  )

/** Return whether the browser asks before it closes the page, which stays open if so. */
async function asksBeforeClosing(page) {
  const asked = new Promise((resolve) =>
    page.once('dialog', async (dialog) => {
      await dialog.dismiss()
      resolve(dialog.type() === 'beforeunload')
    }),
  )
  const closed = new Promise((resolve) => page.once('close', () => resolve(false)))
  await page.close({ runBeforeUnload: true })
  return Promise.race([asked, closed])
}

/** Record in `window.changes` which of level and time change together, in a page. */
function observeLevel() {
  const meter = document.querySelector('smelt-upload').shadowRoot.querySelector('[role=meter]')
  window.changes = []
  const observer = new MutationObserver((records) => {
    const has = (name) => records.some(({ target }) => target.part.contains(name))
    window.changes.push({ level: has('level'), time: has('recording-time') })
  })
  observer.observe(meter.parentElement, { subtree: true, childList: true, attributeFilter: ['aria-valuenow'] })
}

describe('recording of the microphone', { skip, concurrency: 2 }, () => {
  for (const reducedMotion of ['no-preference', 'reduce'])
    test(`shows its level until it is discarded, with prefers-reduced-motion: ${reducedMotion}`, () =>
      withPage(
        browser,
        async (page) => {
          await record(page)
          const meter = page.getByRole('meter', { name: 'Microphone level' })
          await meter.waitFor()
          await shown(page, 'smelt-upload [role=meter]:not([aria-valuenow="0"])')
          await assertAccessible(page, 'recording')
          await page.evaluate(observeLevel)
          const fill = meter.locator('[part=fill]')
          const duration = await fill.evaluate((element) => getComputedStyle(element).transitionDuration)
          assert.equal(duration, reducedMotion === 'reduce' ? '0s' : '0.3s')
          if (reducedMotion === 'reduce') {
            await page.waitForFunction(() => window.changes.filter(({ level }) => level).length > 1)
            assert.ok(await page.evaluate(() => window.changes.every(({ time }) => time)))
          } else await page.waitForFunction(() => window.changes.some(({ level, time }) => level && !time))
          await page.getByRole('button', { name: 'Discard' }).click()
          await microphoneIsOff(page)
          await meter.waitFor({ state: 'hidden' })
          const focused = () => document.querySelector('smelt-upload').shadowRoot.activeElement.textContent
          assert.equal(await page.evaluate(focused), 'Choose files')
        },
        { reducedMotion },
      ))

  test('asks before the page is closed, until the recording was sent or discarded', () =>
    withPage(browser, async (page) => {
      await record(page)
      assert.equal(await asksBeforeClosing(page), true)
      await page.locator('smelt-upload').evaluate((element) => document.body.append(element))
      await page.getByText('The recording was not sent.').first().waitFor()
      assert.equal(await asksBeforeClosing(page), true)
      await page.locator('smelt-upload').getByRole('button', { name: 'Upload' }).click()
      await shown(page, 'smelt-progress[waiting]')
      await record(page)
      await page.getByRole('button', { name: 'Discard' }).click()
      await microphoneIsOff(page)
      assert.equal(await asksBeforeClosing(page), false)
    }))

  for (const [name, replace] of [
    ['is kept when its element is replaced', (element) => element.replaceWith(document.createElement('smelt-upload'))],
    ['is kept when its element is moved', (element) => document.body.append(element)],
  ])
    test(name, () =>
      withPage(browser, async (page) => {
        await record(page)
        await page.locator('smelt-upload').evaluate(replace)
        await microphoneIsOff(page)
        await page.getByText('The recording was not sent.').first().waitFor()
        await shown(page, 'smelt-upload:not([recording]) [part=filename]:text-matches("^recording-.*webm$")')
        await assertAccessible(page, 'recording that was not sent')
        const saved = page.waitForEvent('download')
        await page.locator('smelt-upload').getByRole('button', { name: 'Download' }).click()
        assert.match((await saved).suggestedFilename(), /^recording-.*webm$/)
        await page.locator('smelt-upload').getByRole('button', { name: 'Upload' }).click()
        await shown(page, 'smelt-progress[waiting]')
        await shown(page, 'smelt-upload [part~=zone]')
      }),
    )

  test('is kept when the microphone is removed', () =>
    withPage(browser, async (page) => {
      await record(page)
      await page.evaluate(() => {
        for (const track of window.tracks) {
          track.stop()
          track.dispatchEvent(new Event('ended'))
        }
      })
      await page.getByText('The recording was not sent.').first().waitFor()
      await microphoneIsOff(page)
      await page.locator('smelt-upload').getByRole('button', { name: 'Cancel' }).click()
      await shown(page, 'smelt-upload [part~=zone]')
    }))

  test('is kept when its upload fails, also after its element was removed', () =>
    withProxy(browser, async (page, proxy) => {
      await page.evaluate(() => {
        document.querySelector('smelt-upload').request = { timeoutMs: 100 }
        addEventListener('smelt-upload-failed', () => (window.hasFailed = true))
      })
      await record(page)
      proxy.cut()
      await page.getByRole('button', { name: 'Stop and send' }).click()
      await microphoneIsOff(page)
      await shown(page, 'smelt-upload[failed] [part~=save]')
      assert.equal(await page.locator('smelt-upload [part~=zone]').isVisible(), false)
      await page.evaluate(() => {
        const element = document.querySelector('smelt-upload')
        element.shadowRoot.querySelector('[part~=retry]').click()
        element.remove()
        element.addEventListener('smelt-upload-failed', () => (window.hasFailedAgain = true))
      })
      await page.waitForFunction(() => window.hasFailedAgain)
      await page.evaluate(() => document.body.append(document.createElement('smelt-upload')))
      await page.getByText('The recording was not sent.').first().waitFor()
      proxy.restore()
      await page.locator('smelt-upload').getByRole('button', { name: 'Upload' }).click()
      await shown(page, 'smelt-progress[waiting]')
    }))

  test('is kept when its smelt is rejected', () =>
    withPage(
      browser,
      async (page) => {
        await page.evaluate(() => (document.querySelector('smelt-upload').request = { prompts: ['no such prompt'] }))
        await record(page)
        await page.getByRole('button', { name: 'Stop and send' }).click()
        await microphoneIsOff(page)
        await shown(page, 'smelt-upload[failed] [part~=save]')
        await shown(page, 'smelt-upload[failed] [part~=retry]')
      },
      { expects: /400/ },
    ))
})
