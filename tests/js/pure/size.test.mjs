// The size of the package as a bundler sends it, gzipped.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const PACKAGE = fileURLToPath(new URL('../../../smelt/web/', import.meta.url))
/** Leaves out the modules that are loaded when they are first used. */
const loadedLater = {
  name: 'loaded later',
  setup: ({ onResolve }) =>
    onResolve({ filter: /./ }, ({ kind, path }) => (kind === 'dynamic-import' ? { path, external: true } : undefined)),
}

/** Leaves out all other modules. */
const alone = {
  name: 'alone',
  setup: ({ onResolve }) =>
    onResolve({ filter: /./ }, ({ path, importer }) =>
      importer.startsWith(PACKAGE) ? { path, external: true } : undefined,
    ),
}

/** Leaves out the modules of the core. */
const core = {
  name: 'core',
  setup: ({ onResolve }) => onResolve({ filter: /^\.\.\/[\w-]+\.js$/ }, ({ path }) => ({ path, external: true })),
}

/** Return the size of an app that consists of an import of a module of the package. */
async function sizeOf(names, plugins, module = 'index.js') {
  const stdin = { contents: `export ${names} from ${JSON.stringify(PACKAGE + module)}`, resolveDir: '.' }
  const { outputFiles } = await build({
    stdin,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    plugins,
  })
  return gzipSync(outputFiles[0].contents, { level: 9 }).length
}

test('core is smaller than 8 kB', async () => {
  const core = await sizeOf(
    '{ connectSmelt, SmeltSubscription, subscribeToSmelt, subscribeWithRetry, SmeltError, SmeltFailed }',
    [loadedLater],
  )
  const all = await sizeOf('*', [])
  console.log(`core: ${core} bytes, with all that is loaded later, and captions: ${all} bytes`)
  assert.ok(core < 8000, `${core} bytes`)
  assert.ok(core > 4000 && all > core, 'the package is not in the bundle')
})

test('React hooks are smaller than 2 kB', async () => {
  const [react, query] = await Promise.all(['react.js', 'query.js'].map((module) => sizeOf('*', [alone], module)))
  console.log(`react: ${react} bytes, query: ${query} bytes`)
  assert.ok(react < 2000, `${react} bytes`)
  assert.ok(react > 1000, 'the hooks are not in the bundle')
})

test('custom elements are smaller than 12 kB, and an import for its effects keeps them', async () => {
  const elements = await sizeOf('*', [core, loadedLater], 'elements.js')
  console.log(`elements: ${elements} bytes`)
  assert.ok(elements < 12_000, `${elements} bytes`)
  const stdin = { contents: "import 'smelt-js/elements'", resolveDir: '.' }
  const { outputFiles } = await build({ stdin, bundle: true, write: false, alias: { 'smelt-js': PACKAGE } })
  assert.match(outputFiles[0].text, /customElements\.define/)
})
