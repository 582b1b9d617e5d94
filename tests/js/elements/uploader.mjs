// Uploads files with <smelt-upload> in Chromium: prints `ready`, then a line of JSON for each path on standard input,
// when the garbage of the page is collected.
import { createInterface } from 'node:readline'
import { launch } from '../chromium.mjs'
import { serve, signUp } from './page.mjs'

const server = await serve(process.env.SUPABASE_URL)
const browser = await launch()
try {
  const page = await browser.newPage()
  page.setDefaultTimeout(600_000)
  await page.goto(`http://localhost:${server.address().port}/`)
  await page.waitForFunction(() => document.querySelector('smelt-progress').client)
  await page.evaluate(signUp)
  await page.evaluate(() => {
    window.outcomes = []
    // Without a smelt to show, the other elements take no part.
    addEventListener('smelt-submitted', (event) => {
      event.stopImmediatePropagation()
      const { id, files } = event.detail.job
      window.outcomes.push({ id, upload_path: files[0].upload_path })
    }, true)
    const failed = ({ detail: { error } }) => window.outcomes.push({ error: error.message })
    addEventListener('smelt-upload-failed', failed)
  })
  const devtools = await page.context().newCDPSession(page)
  console.log('ready')
  for await (const path of createInterface({ input: process.stdin })) {
    await page.setInputFiles('smelt-upload input', path)
    const outcome = await page.waitForFunction(() => window.outcomes.shift())
    await devtools.send('HeapProfiler.collectGarbage')
    console.log(JSON.stringify(await outcome.jsonValue()))
  }
} finally {
  await browser.close()
  server.close()
}
