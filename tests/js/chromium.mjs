// Chromium for pages of tests, and the server of bundled pages.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const CHROMIUM = '/usr/bin/chromium'
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const PACKAGE = fileURLToPath(new URL('../../smelt/web', import.meta.url))
const here = (path) => fileURLToPath(new URL(path, import.meta.url))

export const skip = !existsSync(CHROMIUM) && 'Chromium is missing: apt-get install chromium'

export const launch = (args = []) => chromium.launch({ executablePath: CHROMIUM, args: [...ARGUMENTS, ...args] })

/** Return a module, then all that it imports, with React's development build; `alias` replaces packages. */
export async function bundle(entry, alias = {}) {
  const { outputFiles } = await build({
    entryPoints: [here(entry)],
    outdir: '/',
    write: false,
    bundle: true,
    splitting: true,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"development"' },
    nodePaths: [here('node_modules')],
    alias: { 'smelt-js': PACKAGE, ...alias },
  })
  const name = entry.replace(/^.*\/|\.\w+$/g, '')
  const files = outputFiles.map(({ path, text }) => [path.slice(1), text])
  const isEntry = ([path]) => path === `${name}.js`
  return new Map([...files.filter(isEntry), ...files.filter((file) => !isEntry(file))])
}

/** Serve a page with one bundle, the settings of the project and the recording; `url` is that of the project. */
export async function serveBundle(files, url = process.env.SUPABASE_URL) {
  const [entry] = files.keys()
  const page = `<!doctype html><title>smelt</title><link rel="icon" href="data:,"><main id="root"></main><script type="module" src="/${entry}"></script>`
  const server = createServer(async (request, response) => {
    const file = files.get(request.url.slice(1))
    if (request.url === '/') response.setHeader('content-type', 'text/html').end(page)
    else if (request.url === '/settings') response.end(JSON.stringify({ url, key: process.env.SUPABASE_ANON_KEY }))
    else if (request.url === '/recording')
      response.setHeader('content-type', 'audio/ogg').end(await readFile(process.env.SMELT_RECORDING))
    else response.writeHead(file ? 200 : 404, { 'content-type': 'text/javascript' }).end(file)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() }
}
