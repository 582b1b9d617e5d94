// Unfinished uploads are found again for a day, also without a usable localStorage.
import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'

const DAY_MS = 24 * 3600 * 1000
const stored = new Map()
const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) }

/** Return the module as after a reload of the page. */
const reloaded = () => import(`../../../smelt/web/saved-uploads.js?${Math.random()}`)

beforeEach(() => {
  stored.clear()
  globalThis.localStorage = storage
})

test('an upload is found after a reload, until it is forgotten', async () => {
  ;(await reloaded()).save('a', 'one')
  assert.equal((await reloaded()).findSaved('a'), 'one')
  ;(await reloaded()).forget('a')
  assert.equal((await reloaded()).findSaved('a'), undefined)
})

test('an upload is not found after a day', async (context) => {
  context.mock.timers.enable({ apis: ['Date'] })
  const page = await reloaded()
  page.save('a', 'one')
  context.mock.timers.tick(DAY_MS)
  for (const { findSaved } of [page, await reloaded()]) assert.equal(findSaved('a'), undefined)
})

test('the newest 50 uploads are kept', async () => {
  const { findSaved, save } = await reloaded()
  for (let n = 0; n < 60; n += 1) save(`${n}`, 'id')
  save('10', 'id')
  assert.deepEqual(['9', '10', '59'].map(findSaved), [undefined, 'id', 'id'])
  assert.equal(JSON.parse([...stored.values()][0]).length, 50)
})

test('content of another kind in the storage is ignored', async () => {
  const { findSaved } = await reloaded()
  for (const content of ['{', '{}', 'null', '[1, null, ["a", 5], ["a", {"id": "../x", "savedAt": 9e15}]]']) {
    stored.set('smelt-uploads', content)
    assert.equal(findSaved('a'), undefined)
  }
})

test('without an accessible storage, an upload is found within the page', async () => {
  const deny = () => {
    throw new DOMException('denied', 'SecurityError')
  }
  for (const denying of [undefined, { getItem: deny, setItem: deny }, { ...storage, setItem: deny }]) {
    globalThis.localStorage = denying
    const { findSaved, save } = await reloaded()
    save('a', 'one')
    assert.equal(findSaved('a'), 'one')
    assert.equal((await reloaded()).findSaved('a'), undefined)
  }
})

test('files are equal by name, size and time, other blobs only to themselves', async () => {
  const { fingerprintOf } = await reloaded()
  const of = (file, path = 'a') => fingerprintOf('https://project', path, file)
  const file = (name, content, lastModified) => new File([content], name, { lastModified })
  assert.equal(of(file('x', 'one', 1)), of(file('x', 'two', 1)))
  const others = [file('y', 'one', 1), file('x', 'four', 1), file('x', 'one', 2)].map((other) => of(other))
  const all = [of(file('x', 'one', 1)), of(file('x', 'one', 1), 'b'), ...others]
  assert.equal(new Set(all).size, 5)
  const blob = new Blob(['one'])
  assert.equal(of(blob), of(blob))
  assert.notEqual(of(blob), of(new Blob(['one'])))
})
