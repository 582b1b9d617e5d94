// The React app in scripts/examples is type-checked, built, and transcribes a recording in Chromium.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build, preview } from 'vite'
import { launch, skip } from './chromium.mjs'

const MODULES = fileURLToPath(new URL('node_modules', import.meta.url))
const EXAMPLE = fileURLToPath(new URL('../../scripts/examples/react', import.meta.url))
const TIMEOUT_MS = 60_000
const execute = promisify(execFile)

/** Copy the app, with its dependencies from the tests' and the package from its archive. */
async function install() {
  const root = await mkdtemp(join(tmpdir(), 'smelt-example-'))
  await cp(EXAMPLE, root, { recursive: true, filter: (path) => !/node_modules|dist/.test(path) })
  const modules = join(root, 'node_modules')
  await mkdir(join(modules, 'smelt-js'), { recursive: true })
  for (const name of await readdir(MODULES)) await symlink(join(MODULES, name), join(modules, name))
  await execute('tar', ['-xzf', process.env.SMELT_JS_PACKAGE, '-C', join(modules, 'smelt-js'), '--strip-components=1'])
  return root
}

test('example app uploads a recording, and shows transcript, notes and captions', { skip }, async () => {
  const root = await install()
  const browser = await launch()
  try {
    await execute(join(MODULES, '.bin', 'tsc'), ['--noEmit'], { cwd: root })
    await build({ root, logLevel: 'error' })
    const server = await preview({ root, logLevel: 'error', preview: { port: 0, host: '127.0.0.1' } })
    const page = await browser.newPage()
    const errors = []
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()))
    page.on('pageerror', (error) => errors.push(String(error)))
    await page.goto(`http://127.0.0.1:${server.httpServer.address().port}/`)
    await page.setInputFiles('input[type=file]', process.env.SMELT_RECORDING)
    await page.waitForSelector('a[download="decision.ogg.srt"]', { timeout: TIMEOUT_MS })
    assert.equal(await page.textContent('h2'), 'decision.ogg')
    assert.match(await page.textContent('.transcript'), /publish the report on friday/i)
    assert.match(await page.textContent('pre'), /report/i)
    assert.match(decodeURIComponent(await page.getAttribute('a[download]', 'href')), /^data:.*,1\n00:00:0\d,\d+ --> /)
    assert.equal(await page.locator('[role=status]').count(), 0)
    assert.deepEqual(errors, [])
    await server.close()
  } finally {
    await browser.close()
    await rm(root, { recursive: true })
  }
})
