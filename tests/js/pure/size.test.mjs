// The size of the package as an app sends it: without comments and types, gzipped.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import ts from 'typescript'

const PACKAGE = new URL('../../../smelt/web/', import.meta.url)
const OPTIONS = { removeComments: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 }

/** Return the modules that a module imports from the package, with itself. */
async function modulesOf(name, found = new Map()) {
  if (found.has(name)) return found
  const source = await readFile(new URL(name, PACKAGE), 'utf8')
  found.set(name, ts.transpileModule(source, { compilerOptions: OPTIONS }).outputText)
  for (const [, imported] of source.matchAll(/^(?:import|export) .*from '\.\/(.+)'$/gm)) await modulesOf(imported, found)
  return found
}

test('core is smaller than 8 kB', async () => {
  const modules = await modulesOf('index.js')
  assert.ok(modules.size > 5, [...modules.keys()].join())
  const size = gzipSync([...modules.values()].join(''), { level: 9 }).length
  console.log(`core: ${size} bytes`)
  assert.ok(size < 8000, `${size} bytes`)
})
