// The custom elements, and the page of the gateway, show outputs while a language model writes them.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { launch, skip } from '../chromium.mjs'
import { assertAccessible, shown, TIMEOUT_MS, withProxy } from '../elements/page.mjs'
import { startLanguageModel } from './language-model.mjs'

const PROMPTS = ['summarize', 'qa_format']

let browser
let model
before(async () => {
  if (skip) return
  ;[browser, model] = await Promise.all([launch(), startLanguageModel()])
  model.startWorker()
})
after(async () => {
  model?.close()
  await browser?.close()
})

/** Wait until the outputs that `smelt-result` shows are these, each as title and content. */
async function written(page, ...texts) {
  const sections = page.locator('smelt-result [part=output]')
  for (const deadline = Date.now() + TIMEOUT_MS; ; await sleep(50)) {
    const present = await sections.allTextContents()
    if (present.join() === texts.join()) return
    if (Date.now() > deadline) assert.deepEqual(present, texts)
  }
}

const busy = (page) => page.locator('smelt-result [part=output][aria-busy=true]').allTextContents()

/** Record all that the live region of `smelt-result` announces, in a page. */
function recordAnnouncements() {
  const live = document.querySelector('smelt-result').shadowRoot.querySelector('[role=status]')
  window.announced = []
  new MutationObserver(() => window.announced.push(live.textContent)).observe(live, { childList: true })
  window.isWithinBusy = () => !!live.closest('[aria-busy=true]')
}

test('elements show outputs as they are written, once after a cut connection, and none after a cancellation', { skip }, () =>
  withProxy(browser, async (page, proxy) => {
    await page.evaluate(recordAnnouncements)
    await page.evaluate(async (prompts) => {
      const { client } = document.querySelector('smelt-upload')
      location.hash = (await client.create({ text: 'Anna will call Ben.', prompts })).id
    }, PROMPTS)
    const summary = await model.next()
    summary.write('**Anna** ')
    await written(page, 'SummaryAnna')
    assert.deepEqual(await busy(page), ['SummaryAnna'])
    await assertAccessible(page, 'first output')
    summary.write('calls ')
    await written(page, 'SummaryAnna calls')
    summary.end('Ben.')
    const interrupted = await model.next()
    interrupted.write('Q: Who')
    await written(page, 'SummaryAnna calls Ben.', 'Questions and answersQ: Who')
    assert.deepEqual(await busy(page), ['Questions and answersQ: Who'])
    assert.equal(await page.evaluate(() => window.isWithinBusy()), false)
    proxy.cut()
    await shown(page, 'smelt-progress [data-status=polling]')
    interrupted.write(' calls?')
    proxy.restore()
    await written(page, 'SummaryAnna calls Ben.', 'Questions and answersQ: Who calls?')
    await page.emulateMedia({ colorScheme: 'dark' })
    await assertAccessible(page, 'second output, dark')
    assert.deepEqual(await page.evaluate(() => window.announced), ['Summary is written'])

    await page.getByRole('button', { name: 'Cancel' }).click()
    await shown(page, 'smelt-progress[cancelled]')
    await written(page)
    await shown(page, 'smelt-result [part=note]')
    await page.getByRole('button', { name: 'Try again' }).click()
    const again = await model.next() // The complete output is kept.
    again.write('Q: Whom')
    await written(page, 'SummaryAnna calls Ben.', 'Questions and answersQ: Whom')
    again.end('?')
    await shown(page, 'smelt-progress[completed]')
    assert.equal(await page.locator('smelt-result [part=output]').count(), 0)
    const contents = await page.locator('smelt-result [part=content]').allTextContents()
    assert.deepEqual(contents, ['SummaryAnna calls Ben.Questions and answersQ: Whom?'])
  }))

test('page shows the notes with the first output, unless another tab was chosen', { skip }, async () => {
  const context = await browser.newContext({ viewport: { width: 320, height: 640 } })
  try {
    const page = await context.newPage()
    await page.goto(process.env.SMELT_GATEWAY)
    await page.getByText('Use a text').click()
    await page.getByLabel('Rough notes').fill('Anna will call Ben.')
    await page.getByRole('button', { name: 'Write notes' }).click()
    const selected = (name) => page.locator(`[role=tab][aria-selected=true]:text-is("${name}")`).waitFor()
    const summary = await model.next()
    summary.write('Anna ')
    await written(page, 'SummaryAnna')
    await selected('Notes')
    await assertAccessible(page, 'output of the page')
    await page.getByRole('tab', { name: 'Transcript' }).click()
    summary.end('calls Ben.')
    ;(await model.next()).end('Call Ben.')
    await page.waitForFunction(() => document.title.startsWith('Done'))
    await selected('Transcript')
    await page.getByRole('tab', { name: 'Notes' }).click()
    await page.getByText('Anna calls Ben.').waitFor()
  } finally {
    await context.close()
  }
})
