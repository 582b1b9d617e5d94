// The custom elements in every state of a smelt, against a project without a worker: the test acts as one.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'
import { startProxy } from '../proxy.mjs'
import { assertAccessible, audio, limitUpload, shown, submit, text, withPage } from './page.mjs'
import { claim } from './worker.mjs'

const NOTES = '# Decisions\n\n- [x] **Publish** the report\n- [ ] Ask [Kim](https://example.com/kim)\n\n| who | when |\n|---|---|\n| Kim | Friday |'

describe('elements', { skip }, () => {
  let browser
  before(async () => {
    browser = await launch()
  })
  after(() => browser?.close())

  test('upload, waiting without a worker, processing, reload, partial end, retry and cancellation', () =>
    withPage(browser, async (page) => {
      assert.equal(await page.locator('smelt-progress[idle]').isVisible(), false)
      await assertAccessible(page, 'idle')
      await limitUpload(page, 500_000)
      await page.setInputFiles('smelt-upload input', [audio('first.ogg', 400_000), audio('second.ogg', 400_000)])
      await shown(page, 'smelt-upload[uploading] [part~=total][aria-valuenow="50"], smelt-upload[uploading] [part~=file-bar]')
      await assertAccessible(page, 'uploading')
      await limitUpload(page, -1)
      await shown(page, 'smelt-progress[waiting][processing][connected]')
      await page.getByText('Waiting for a worker: none is running.').first().waitFor()
      await assertAccessible(page, 'waiting')
      const id = await page.evaluate(() => location.hash.slice(1))

      const job = await claim(id)
      await job.report('transcribing', 40, {
        texts: { 0: ['We decided to publish the report on Friday.', 'Kim will ask.'] },
        files: [{ position: 0, status: 'processing', stage: 'transcribing', progress: 60 }],
        eta_seconds: 130,
      })
      await page.getByText('Kim will ask.').first().waitFor()
      await shown(page, 'smelt-progress[processing]:not([waiting]) [part~=total][aria-valuenow="40"]')
      assert.equal(await text(page, 'smelt-progress [part=details]'), 'about 2 min left')
      assert.deepEqual(await page.locator('smelt-transcript h3').allTextContents(), ['first.ogg', 'second.ogg'])
      assert.equal(await page.locator('smelt-transcript section [part=skeleton]').last().isVisible(), true)
      assert.deepEqual(page.joined, [`smelt:${id}`])
      await assertAccessible(page, 'processing')

      await page.reload()
      await page.getByText('Kim will ask.').first().waitFor()
      await shown(page, 'smelt-progress[processing][connected] [part~=total][aria-valuenow="40"]')
      await job.report('transcribing', 60, {
        texts: { 0: [{ text: 'mumbled', start: 3700 }] },
        files: [
          { position: 0, status: 'completed', transcribed: true, trust: { silence_seconds: 0, low_confidence_segments: [2], repeated_segments: [] } },
          { position: 1, status: 'failed', error_code: 'corrupted_file' },
        ],
      })
      await page.getByText('mumbled').first().waitFor()
      await job.complete({ 0: NOTES })
      await shown(page, 'smelt-progress[completed][partial]:not([processing]):not([connected])')
      await page.getByText('Complete, except for files that failed').last().first().waitFor()
      assert.deepEqual(await page.locator('smelt-result h3').allTextContents(), ['first.ogg', 'second.ogg'])
      assert.match(await text(page, 'smelt-result [part=error]'), /corrupt|damaged|read/i)
      assert.equal(await text(page, 'smelt-transcript [part~=doubtful]'), '1:01:40mumbled (unsure)')
      assert.deepEqual(await page.locator('smelt-result li').allTextContents(), ['☑ Publish the report', '☐ Ask Kim'])
      assert.equal(await page.locator('smelt-result td').last().textContent(), 'Friday')
      await assertAccessible(page, 'partial')

      await page.getByRole('button', { name: 'Try again' }).click()
      await shown(page, 'smelt-progress[processing]:not([partial])')
      await page.getByRole('button', { name: 'Cancel' }).click()
      await shown(page, 'smelt-progress[cancelled]:not([failed])')
      const focused = () => document.querySelector('smelt-progress').shadowRoot.activeElement.textContent
      assert.equal(await page.evaluate(focused), 'Try again')
      await assertAccessible(page, 'cancelled')
    }))
})
