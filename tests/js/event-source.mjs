// A page in Chromium follows smelts with EventSource until it stops; prints what it received as a line of JSON.
import { createServer } from 'node:http'
import { launch } from './chromium.mjs'

const TIMEOUT_MS = 100_000

/** Runs in the page: collect the events of one stream until it is closed. */
const follow = (url) =>
  new Promise((resolve) => {
    const events = []
    let opened = 0
    const source = new EventSource(url)
    source.onopen = () => opened++
    for (const name of ['progress', 'segments', 'completed', 'failed'])
      source.addEventListener(name, ({ data, lastEventId }) => events.push([name, lastEventId, data]))
    setInterval(() => source.readyState === EventSource.CLOSED && resolve({ events, opened }), 50)
  })

const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<title>smelt</title>'))
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const browser = await launch()
try {
  const page = await browser.newPage()
  page.setDefaultTimeout(TIMEOUT_MS)
  await page.goto(`http://localhost:${server.address().port}/`)
  console.log('ready')
  console.log(JSON.stringify(await page.evaluate(follow, process.argv[2])))
} finally {
  await browser.close()
  server.close()
}
