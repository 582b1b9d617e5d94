// The custom elements in every state of a smelt, against a project without a worker: the test acts as one.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { launch, skip } from '../chromium.mjs'
import { startProxy } from '../proxy.mjs'
import { assertAccessible, audio, limitUpload, shown, submit, text, withPage } from './page.mjs'
import { claim, expireAudio } from './worker.mjs'

/** Errors of a page whose connection was cut; 400 is for an object that was stored before. */
const CUT = /ERR_|WebSocket|fetch|400/
const NOTES =
  '# Decisions\n\n- [x] **Publish** the report\n- [ ] Ask [Kim](https://example.com/kim)\n\n' +
  '| who | when |\n|---|---|\n| Kim | Friday |'

let browser
before(async () => {
  browser = skip ? null : await launch(['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'])
})
after(() => browser?.close())

// Before any other test: no worker has run yet.
test('upload, waiting without a worker, processing, reload, partial end, retry and cancellation', { skip }, () =>
  withPage(browser, async (page) => {
    assert.equal(await page.locator('smelt-progress[idle]').isVisible(), false)
    await assertAccessible(page, 'idle')
    await limitUpload(page, 500_000)
    await page.setInputFiles('smelt-upload input', [audio('first.ogg', 400_000), audio('second.ogg', 400_000)])
    await shown(
      page,
      'smelt-upload[uploading] [part~=total][aria-valuenow="50"], smelt-upload[uploading] [part~=file-bar]',
    )
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
        {
          position: 0,
          status: 'completed',
          transcribed: true,
          trust: { silence_seconds: 0, low_confidence_segments: [2], repeated_segments: [] },
        },
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
    await page.emulateMedia({ colorScheme: 'dark' })
    await assertAccessible(page, 'partial, dark')

    await page.getByRole('button', { name: 'Try again' }).click()
    await shown(page, 'smelt-progress[processing]:not([partial])')
    await page.getByRole('button', { name: 'Cancel' }).click()
    await shown(page, 'smelt-progress[cancelled]:not([failed])')
    const focused = () => document.querySelector('smelt-progress').shadowRoot.activeElement.textContent
    assert.equal(await page.evaluate(focused), 'Try again')
    await assertAccessible(page, 'cancelled')
  }),
)

describe('elements', { skip, concurrency: 3 }, () => {
  test('Markdown becomes elements', () =>
    withPage(browser, async (page) => {
      const cases = {
        '# A #\n###### B': '<h4>A</h4><h6>B</h6>',
        'one\ntwo  \nthree\\\nfour': '<p>one two<br>three<br>four</p>',
        '***a*** **b *c* d** snake_case_name _e_ __f__ \\*g\\* ~~h~~ 1 * 2 * 3':
          '<p><strong><em>a</em></strong> <strong>b <em>c</em> d</strong> snake_case_name ' +
          '<em>e</em> <strong>f</strong> *g* <del>h</del> 1 * 2 * 3</p>',
        '- a\n\n  b\n- c\n  3. d\n  4. e\n\nf\n---':
          '<ul><li>a<p>b</p></li><li>c<ol start="3"><li>d</li><li>e</li></ol></li></ul><p>f</p><hr>',
        '```js\na < 1\n```\n> b\n> - c':
          '<pre><code>a &lt; 1</code></pre><blockquote><p>b</p><ul><li>c</li></ul></blockquote>',
        '|a|b|\n|-|:-:|\n|`c`|d\\|e|':
          '<table><thead><tr><th>a</th><th>b</th></tr></thead>' +
          '<tbody><tr><td><code>c</code></td><td>d|e</td></tr></tbody></table>',
        'a [b_c](https://x.y/(z)) <mailto:a@b.c>':
          '<p>a <a href="https://x.y/(z)">b_c</a> <a href="mailto:a@b.c">mailto:a@b.c</a></p>',
      }
      const rendered = await page.evaluate(async (sources) => {
        const { markdown } = await import('/smelt/elements/markdown.js')
        return sources.map((source) => {
          const root = document.createElement('div')
          root.append(...markdown(source))
          return root.innerHTML.replace(/ (?:dir|target|rel)="[^"]*"|<\/?div[^>]*>/g, '')
        })
      }, Object.keys(cases))
      assert.deepEqual(rendered, Object.values(cases))
    }))

  test('a lost connection is shown and is not a failure', async () => {
    const proxy = await startProxy()
    const run = async (page) => {
      const job = await claim(await submit(page, audio('a.ogg')))
      await job.report('transcribing', 30, { texts: { 0: ['Before the cut.'] } })
      await page.getByText('Before the cut.').waitFor()
      await shown(page, 'smelt-progress[connected] [data-status=live]')
      proxy.cut()
      await shown(page, 'smelt-progress[processing]:not([connected]):not([failed]) [data-status=polling]')
      await page.getByText('Connection lost, updating every few seconds').waitFor()
      await assertAccessible(page, 'connection lost')
      await job.report('transcribing', 50, { texts: { 0: ['During the cut.'] } })
      proxy.restore()
      await page.getByText('During the cut.').waitFor()
      await shown(page, 'smelt-progress[connected] [data-status=live]')
      await job.complete({ 0: 'Notes.' })
      await shown(page, 'smelt-progress[completed]:not([partial])')
    }
    try {
      await withPage(browser, run, { url: proxy.url, expects: CUT })
    } finally {
      proxy.close()
    }
  })

  test('an upload that was cut goes on with the same smelt, and one that is cancelled ends it', async () => {
    const proxy = await startProxy()
    const run = async (page) => {
      await page.evaluate(() => {
        window.events = []
        for (const name of ['smelt-created', 'smelt-submitted', 'smelt-upload-failed'])
          addEventListener(name, ({ detail }) => window.events.push(`${name} ${detail.job?.id ?? detail.error.code}`))
      })
      const uploading = 'smelt-upload[uploading] [part~=total]:not([aria-valuenow="0"])'
      await limitUpload(page, 100_000)
      await page.setInputFiles('smelt-upload input', [audio('first.ogg', 10_000), audio('second.ogg', 700_000)])
      await shown(page, uploading)
      proxy.cut()
      await shown(page, 'smelt-upload[failed]:not([uploading]) [part~=retry]')
      await assertAccessible(page, 'upload failed')
      proxy.restore()
      await limitUpload(page, -1)
      await page.getByRole('button', { name: 'Try again' }).click()
      await shown(page, 'smelt-progress[waiting]')
      const id = await page.evaluate(() => location.hash.slice(1))
      const events = await page.evaluate(() => window.events)
      assert.deepEqual(events, [`smelt-created ${id}`, 'smelt-upload-failed connection_lost', `smelt-submitted ${id}`])

      await limitUpload(page, 100_000)
      await page.evaluate(() => {
        const dataTransfer = new DataTransfer()
        dataTransfer.items.add(new File([new Uint8Array(700_000)], 'dropped.ogg', { type: 'audio/ogg' }))
        const drop = (type) =>
          document.querySelector('smelt-upload').dispatchEvent(new DragEvent(type, { dataTransfer, cancelable: true }))
        window.wasAccepted = ['dragover', 'drop'].map((type) => !drop(type))
      })
      assert.deepEqual(await page.evaluate(() => window.wasAccepted), [true, true])
      await shown(page, uploading)
      const other = (await page.evaluate(() => window.events.at(-1))).split(' ')[1]
      await page.locator('smelt-upload').getByRole('button', { name: 'Cancel' }).click()
      await shown(page, 'smelt-upload:not([uploading]):not([failed]) [part~=zone]')
      await page.evaluate((id) => (location.hash = id), other)
      await shown(page, 'smelt-progress[cancelled]')
    }
    try {
      await withPage(browser, run, { url: proxy.url, expects: CUT })
    } finally {
      proxy.close()
    }
  })

  test('a recording of the microphone is sent', () =>
    withPage(browser, async (page) => {
      await page.getByRole('button', { name: 'Record' }).click()
      await shown(page, 'smelt-upload[recording] [part=recording-time]:not(:text("0:00"))')
      await assertAccessible(page, 'recording')
      await page.getByRole('button', { name: 'Discard' }).click()
      await page.getByRole('button', { name: 'Record' }).click()
      await page.getByRole('button', { name: 'Stop and send' }).click()
      await shown(page, 'smelt-upload:not([recording])')
      await shown(page, 'smelt-progress[waiting]')
      assert.match(await text(page, 'smelt-progress [part=filename]'), /^recording-[\d-]{19}\.webm$/)
    }))

  test('a transcript follows its end unless it is scrolled away, and is searched with the keyboard', () =>
    withPage(browser, async (page) => {
      const job = await claim(await submit(page, audio('a.ogg')))
      const lines = (from) => Array.from({ length: 30 }, (_, n) => `Line ${from + n} of the report.`)
      const inView = (text) => page.waitForFunction((text) => window.isInView(text), text)
      await page.evaluate(() => {
        const box = document.querySelector('smelt-transcript').shadowRoot.querySelector('[part=lines]')
        window.box = box
        window.isInView = (text) => {
          const line = [...box.querySelectorAll('[part~=line]')].find(({ textContent }) => textContent.includes(text))
          const [inner, outer] = [line?.getBoundingClientRect(), box.getBoundingClientRect()]
          return inner && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1
        }
      })
      await job.report('transcribing', 30, { texts: { 0: lines(0) } })
      await inView('Line 29 of')
      await job.report('transcribing', 40, { texts: { 0: lines(30) } })
      await inView('Line 59 of')
      await page.evaluate(() => window.box.scrollTo(0, 0))
      const follow = page.getByRole('button', { name: 'Jump to the latest line' })
      await follow.waitFor()
      await job.report('transcribing', 50, { texts: { 0: lines(60) } })
      await page.getByText('Line 89 of').waitFor({ state: 'attached' })
      await inView('Line 0 of')
      await assertAccessible(page, 'scrolled away')
      await follow.click()
      await inView('Line 89 of')

      await page.getByRole('searchbox').fill('LINE 4')
      assert.equal(await text(page, 'smelt-transcript [part=matches]'), '1 of 11')
      await inView('Line 4 of')
      await page.keyboard.press('Enter')
      await inView('Line 40 of')
      await page.keyboard.press('Shift+Enter')
      await page.keyboard.press('Shift+Enter')
      assert.equal(await text(page, 'smelt-transcript [part=matches]'), '11 of 11')
      await assertAccessible(page, 'search')
      await page.keyboard.press('Escape')
      assert.equal(await page.locator('smelt-transcript mark').count(), 0)
      await page.getByRole('searchbox').fill('(.*')
      assert.equal(await text(page, 'smelt-transcript [part=matches]'), 'No match')
    }))

  test('hostile names, transcripts and notes are nothing but text', () =>
    withPage(browser, async (page) => {
      const attack = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>\u001b[31m\u202Egnp'
      const notes = [
        attack,
        '[click](javascript:window.attacked=1) [data](data:text/html,x) <javascript:window.attacked=1>',
        '![image](https://example.com/a.png) `<b>` **bold <i>**',
        `# ${attack}`,
        `- ${attack}`,
        `| ${attack} |\n|---|\n| x |`,
        `${'>'.repeat(5000)} deep`,
        `${'- '.repeat(5000)}deep`,
        `${'*a '.repeat(2000)}${'['.repeat(20_000)}${'`'.repeat(20_000)}`,
        `# ${' '.repeat(100_000)}x`,
        '`a'.repeat(1000),
        '*a*'.repeat(1000),
        'x'.repeat(100_000),
      ].join('\n\n')
      const job = await claim(await submit(page, audio('<b>bold<b>\u202Egpj.ogg')))
      await job.report('transcribing', 30, { texts: { 0: [attack, 'y'.repeat(20_000)] } })
      await page.getByText('yyyy').waitFor()
      await page.getByRole('searchbox').fill('<img')
      await job.complete({ 0: notes })
      await shown(page, 'smelt-progress[completed]')
      const found = await page.evaluate(() =>
        ['smelt-progress', 'smelt-transcript', 'smelt-result'].flatMap((name) => {
          const { shadowRoot: root } = document.querySelector(name)
          return [...root.querySelectorAll('img, script, i, b, [onerror], [src], a')].map(({ outerHTML }) => outerHTML)
        }),
      )
      assert.equal(found.length, 1, found.join('\n'))
      assert.match(
        found[0],
        /^<a href="https:\/\/example\.com\/a\.png" target="_blank" rel="noopener noreferrer nofollow"/,
      )
      assert.equal(await page.evaluate(() => window.attacked), undefined)
      const names = page.locator('smelt-transcript h3, smelt-progress li [part=filename], smelt-result h3')
      assert.deepEqual([...new Set(await names.allTextContents())], ['<b>bold<b>\u202Egpj.ogg'])
      assert.match(await text(page, 'smelt-result [part=content]'), /<script>window\.attacked=1<\/script>/)
      const isolation = (element) => getComputedStyle(element).unicodeBidi
      for (const part of [
        'smelt-transcript [part=text]',
        'smelt-result [part=content] p',
        'smelt-result [part=content] td',
      ])
        assert.match(await page.locator(part).first().evaluate(isolation), /isolate|plaintext/, part)
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      assert.ok(width <= 0, `the page is ${width} px too wide`)
      const download = page.waitForEvent('download')
      await page.getByRole('button', { name: 'Download' }).click()
      assert.equal((await download).suggestedFilename(), '_b_bold_b__gpj.md')
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
      await page.getByRole('button', { name: 'Copy' }).click()
      await page.getByRole('button', { name: 'Copied' }).waitFor()
      assert.equal(await page.evaluate(async () => (await navigator.clipboard.readText()).replaceAll('\r', '')), notes)
    }))

  test('a retry is not offered without audio, and the focus stays in the element', () =>
    withPage(
      browser,
      async (page) => {
        const damaged = await claim(await submit(page, audio('damaged.ogg')))
        await damaged.fail('corrupted_file')
        await shown(page, 'smelt-progress[failed] [part~=error]')
        assert.equal(await page.getByRole('button', { name: 'Try again' }).isVisible(), false)
        const id = await page.evaluate(async () => {
          const { client } = document.querySelector('smelt-upload')
          const files = [{ filename: 'unsent.ogg', size_bytes: 1000 }]
          const { id } = await client.transport.call('create_smelt', { files })
          await client.cancel(id)
          location.hash = id
          return id
        })
        await shown(page, `smelt-progress[smelt-id="${id}"][cancelled]`)
        await page.getByText('The upload was not completed, and the audio is removed.').waitFor()
        const retry = page.getByRole('button', { name: 'Try again' })
        assert.equal(await retry.isVisible(), false)
        await assertAccessible(page, 'cancelled upload')
        const expired = await claim(await submit(page, audio('expired.ogg')))
        await expired.fail('decoding_failed')
        await retry.waitFor()
        await expireAudio()
        await retry.focus()
        await page.keyboard.press('Enter')
        await page.getByText('The audio is removed; create a new smelt.').first().waitFor()
        await retry.waitFor({ state: 'hidden' })
        const part = () => document.querySelector('smelt-progress').shadowRoot.activeElement.part.value
        assert.equal(await page.evaluate(part), 'panel')
        await assertAccessible(page, 'without audio')
      },
      { expects: /410/ },
    ))

  test('a name of a speaker is shown after requestUpdate, in place of the label', () =>
    withPage(browser, async (page) => {
      const id = await submit(page, audio('a.ogg'))
      const job = await claim(id)
      await job.report('synthesizing', 80, {
        texts: { 0: [{ text: 'Hello.', speaker: 'Speaker 1' }, { text: 'Welcome.', speaker: 'Speaker 2' }] },
        files: [{ position: 0, status: 'completed', transcribed: true }],
      })
      await job.complete({ 0: 'Speaker 1 greets Speaker 2.' })
      const lines = page.locator('smelt-transcript [part~=line]')
      const linesAre = (...texts) =>
        page.waitForFunction((texts) => {
          const { shadowRoot } = document.querySelector('smelt-transcript')
          return [...shadowRoot.querySelectorAll('[part~=line]')].map((line) => line.textContent).join() === texts
        }, texts.join())
      await shown(page, 'smelt-progress[completed]')
      assert.deepEqual(await lines.allTextContents(), ['0:00Speaker 1:Hello.', '0:04Speaker 2:Welcome.'])
      await page.evaluate(async (smelt_id) => {
        const { job } = document.querySelector('smelt-transcript')
        const { supabase } = await import('/supabase.js')
        const { subscribeToSmelt } = await import('/smelt/index.js')
        window.ends = 0
        await new Promise((resolve) => {
          const onCompleted = () => resolve((window.ends += 1))
          subscribeToSmelt(supabase, smelt_id, { onCompleted })
        })
        await supabase.rpc('rename_smelt_speaker', { smelt_id, speaker: 'Speaker 1', name: 'Ann' })
        await job.requestUpdate()
      }, id)
      await linesAre('0:00Ann:Hello.', '0:04Speaker 2:Welcome.')
      await page.locator('smelt-result').getByText('Ann greets Speaker 2.').waitFor()
      const watched = await page.evaluate(async () => {
        const { job } = document.querySelector('smelt-transcript')
        const updates = []
        for await (const update of job.watch()) updates.push(update)
        return updates.map(({ type, segments }) => segments?.map(({ speaker }) => speaker).join() ?? type)
      })
      assert.deepEqual(watched.slice(-2), ['Ann,Speaker 2', 'completed'])
      assert.equal(await page.evaluate(() => window.ends), 1)
    }))

  test('times are buttons of a playable transcript alone, and one of a file is in the order of tabs', () =>
    withPage(browser, async (page) => {
      const job = await claim(await submit(page, audio('first.ogg'), audio('second.ogg')))
      await job.report('transcribing', 40, { texts: { 0: ['One.', { text: 'Two.', start: 3.5 }], 1: ['Three.'] } })
      await page.getByText('Three.').waitFor()
      const time = page.locator('smelt-transcript button[part=time]')
      assert.equal(await time.count(), 0)
      await page.evaluate(() => {
        window.seeks = []
        addEventListener('smelt-seek', ({ detail }) => window.seeks.push(detail))
        document.querySelector('smelt-transcript').toggleAttribute('playable')
      })
      await time.nth(2).waitFor()
      await assertAccessible(page, 'playable')
      await time.first().focus()
      await page.keyboard.press('ArrowUp') // There is none before.
      await page.keyboard.press('Space')
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Enter')
      await page.keyboard.press('ArrowDown') // The next one is of another file.
      await page.keyboard.press('Enter')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      const [first, second] = job.files.map(({ id }) => id)
      assert.deepEqual(await page.evaluate(() => window.seeks), [
        { file_id: first, start: 0 },
        { file_id: first, start: 3.5 },
        { file_id: first, start: 3.5 },
        { file_id: second, start: 0 },
      ])
      await page.keyboard.press('Shift+Tab')
      assert.deepEqual(await time.evaluateAll((all) => all.map(({ tabIndex }) => tabIndex)), [-1, 0, 0])
      await page.evaluate(() => document.querySelector('smelt-transcript').toggleAttribute('playable'))
      await time.first().waitFor({ state: 'detached' })
      await page.getByText('Two.').waitFor()
    }))

  test('a missing smelt and a rejected upload are failures', () =>
    withPage(
      browser,
      async (page) => {
        await page.evaluate(() => (location.hash = crypto.randomUUID()))
        await shown(page, 'smelt-progress[failed]')
        assert.match(await text(page, 'smelt-progress [part~=error]'), /does not exist/)
        assert.equal(await page.getByRole('button', { name: 'Try again' }).isVisible(), false)
        await page.setInputFiles('smelt-upload input', audio('a.exe'))
        await shown(page, 'smelt-upload[failed] [part~=error]:has-text("a.exe")')
        await assertAccessible(page, 'failed')
        const job = await claim(await submit(page, audio('a.ogg')))
        await shown(page, 'smelt-upload:not([failed])')
        await job.fail('decoding_failed')
        await shown(page, 'smelt-progress[failed]:not([processing]) [part~=retry]')
        await assertAccessible(page, 'failed smelt')
        await page.evaluate(() => document.querySelector('smelt-progress').toggleAttribute('readonly'))
        await page.getByRole('button', { name: 'Try again' }).waitFor({ state: 'hidden' })
        await page.evaluate(() => document.querySelector('smelt-progress').toggleAttribute('readonly'))
        await page.getByRole('button', { name: 'Try again' }).waitFor()
        await page.emulateMedia({ colorScheme: 'dark' })
        await assertAccessible(page, 'failed smelt, dark')
      },
      { expects: /400/ },
    ))
})
