// The page of scripts/examples/elements transcribes a recording with a worker.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { launch, skip } from './chromium.mjs'
import { assertAccessible, shown, submit, text, withPage } from './elements/page.mjs'

test('page with custom elements uploads a recording, and shows transcript and notes', { skip }, async () => {
  const browser = await launch()
  try {
    await withPage(browser, async (page) => {
      const id = await submit(page, process.env.SMELT_RECORDING)
      await shown(page, 'smelt-progress[completed]:not([partial])')
      assert.match(await text(page, 'smelt-transcript [part=transcript]'), /0:0\d.*publish the report on friday/i)
      assert.match(await text(page, 'smelt-result [part=content]'), /report/i)
      assert.equal(await text(page, 'smelt-progress [part=filename]'), 'decision.ogg')
      assert.deepEqual(page.joined, [`smelt:${id}`])
      await assertAccessible(page, 'completed')
    })
  } finally {
    await browser.close()
  }
})
