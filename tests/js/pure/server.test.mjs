// On a server, without a window, the hooks render the state before any update.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

test('hooks render on a server and call nothing', async () => {
  const { outputFiles } = await build({
    entryPoints: [here('server.jsx')],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    jsx: 'automatic',
    nodePaths: [here('../node_modules')],
    alias: { 'smelt-js': here('../../../smelt/web') },
  })
  const module = { exports: {} }
  new Function('module', 'require', outputFiles[0].text)(
    module,
    process.getBuiltinModule('module').createRequire(import.meta.url),
  )
  assert.equal(module.exports.html, 'pending pending idle [] 0 idle false')
})
