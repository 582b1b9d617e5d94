// Tests of storage-js, from the bucket to the last object.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { connect, signUp, dataOf, until } from './app.mjs'

const BYTES = Uint8Array.from({ length: 5_000 }, (_, index) => index % 256)
const AUDIO = { contentType: 'audio/webm' }

const bytesOf = async (blob) => new Uint8Array(await blob.arrayBuffer())

describe('storage-js', { concurrency: true }, () => {
  const service = connect(process.env.SUPABASE_SERVICE_ROLE_KEY)
  const name = `js-${crypto.randomUUID()}`
  const bucket = service.storage.from(name)

  before(() => dataOf(service.storage.createBucket(name, { fileSizeLimit: '10KB', allowedMimeTypes: ['audio/*'] })))
  after(async () => {
    await dataOf(service.storage.emptyBucket(name))
    await dataOf(service.storage.deleteBucket(name))
    const gone = await service.storage.getBucket(name)
    assert.match(gone.error.message, /not found/i)
  })

  test('bucket has the options of its creation', async () => {
    const found = await dataOf(service.storage.getBucket(name))
    assert.deepEqual([found.public, found.file_size_limit, found.allowed_mime_types], [false, 10_000, ['audio/*']])
    const again = await service.storage.createBucket(name)
    assert.match(again.error.message, /already exists/)
    const listed = await dataOf(service.storage.listBuckets())
    assert.ok(listed.some(({ id }) => id === name))
  })

  test('upload, info and download return the same object', async () => {
    const path = 'in/out, 1.webm'
    const stored = await dataOf(bucket.upload(path, BYTES, { ...AUDIO, cacheControl: '60', metadata: { n: 1 } }))
    assert.deepEqual([stored.path, stored.fullPath], [path, `${name}/${path}`])
    const info = await dataOf(bucket.info(path))
    assert.deepEqual(
      [info.id, info.size, info.contentType, info.cacheControl, info.metadata],
      [stored.id, BYTES.length, 'audio/webm', 'max-age=60', { n: 1 }])
    assert.equal(await dataOf(bucket.exists(path)), true)
    assert.deepEqual(await bytesOf(await dataOf(bucket.download(path))), BYTES)
    const streamed = await dataOf(bucket.download(path).asStream())
    assert.deepEqual(await bytesOf(new Response(streamed)), BYTES)
  })

  test('upload replaces an object only as an upsert', async () => {
    const path = 'twice.webm'
    const first = await dataOf(bucket.upload(path, BYTES, AUDIO))
    const plain = await bucket.upload(path, BYTES.slice(1), AUDIO)
    assert.deepEqual([plain.error.statusCode, plain.error.message], ['409', 'The resource already exists'])
    const second = await dataOf(bucket.upload(path, BYTES.slice(1), { ...AUDIO, upsert: true }))
    assert.equal(second.id, first.id)
    assert.deepEqual(await bytesOf(await dataOf(bucket.download(path))), BYTES.slice(1))
    await dataOf(bucket.update(path, BYTES.slice(2), AUDIO))
    assert.equal((await dataOf(bucket.info(path))).size, BYTES.length - 2)
  })

  test("bucket limits of size and type are enforced", async () => {
    const large = await bucket.upload('large.webm', new Uint8Array(10_001), AUDIO)
    assert.deepEqual([large.error.statusCode, large.error.message], ['413', 'The object exceeded the maximum allowed size'])
    const text = await bucket.upload('a.txt', BYTES, { contentType: 'text/plain' })
    assert.deepEqual([text.error.statusCode, text.error.message], ['415', 'mime type text/plain is not supported'])
    assert.equal((await bucket.exists('large.webm')).data, false)
  })

  test('signed upload works once without a key', async () => {
    const { path, token } = await dataOf(bucket.createSignedUploadUrl('signed/up.webm'))
    const visitor = connect().storage.from(name)
    await dataOf(visitor.uploadToSignedUrl(path, token, BYTES, AUDIO))
    const again = await visitor.uploadToSignedUrl(path, token, BYTES, AUDIO)
    assert.equal(again.error.statusCode, '409')
    const elsewhere = await visitor.uploadToSignedUrl('signed/other.webm', token, BYTES, AUDIO)
    assert.equal(elsewhere.error.message, 'Invalid signature')
    assert.deepEqual(await bytesOf(await dataOf(bucket.download(path))), BYTES)
  })

  test('signed URL serves ranges until it expires', async () => {
    await dataOf(bucket.upload('signed/down.webm', BYTES, AUDIO))
    const { signedUrl } = await dataOf(bucket.createSignedUrl('signed/down.webm', 3600))
    const part = await fetch(signedUrl, { headers: { range: 'bytes=10-19' } })
    assert.deepEqual([part.status, part.headers.get('content-range')], [206, `bytes 10-19/${BYTES.length}`])
    assert.deepEqual(new Uint8Array(await part.arrayBuffer()), BYTES.slice(10, 20))
    assert.equal((await fetch(signedUrl, { headers: { range: `bytes=${BYTES.length}-` } })).status, 416)
    const many = await dataOf(bucket.createSignedUrls(['signed/down.webm', 'nothing'], 3600))
    assert.deepEqual(many.map(({ error }) => Boolean(error)), [false, true])

    const short = await dataOf(bucket.createSignedUrl('signed/down.webm', 1))
    const rejected = await until(async () => {
      const response = await fetch(short.signedUrl)
      if (!response.ok) return response.json()
      await response.body.cancel()
    }, 'the end of a signed URL')
    assert.deepEqual([rejected.statusCode, rejected.error], ['400', 'InvalidJWT'])
  })

  test('list shows folders, and remove deletes objects', async () => {
    for (const path of ['list/a.webm', 'list/b.webm', 'list/deeper/c.webm']) await dataOf(bucket.upload(path, BYTES, AUDIO))
    const listed = await dataOf(bucket.list('list', { sortBy: { column: 'name', order: 'asc' } }))
    assert.deepEqual(listed.map((entry) => [entry.name, entry.id !== null]), [
      ['a.webm', true], ['b.webm', true], ['deeper', false],
    ])
    assert.deepEqual((await dataOf(bucket.list('list', { limit: 1, offset: 1 }))).map((entry) => entry.name), ['b.webm'])
    assert.deepEqual((await dataOf(bucket.list('list', { search: 'b' }))).map((entry) => entry.name), ['b.webm'])
    const removed = await dataOf(bucket.remove(['list/a.webm', 'list/nothing.webm']))
    assert.deepEqual(removed.map((entry) => entry.name), ['list/a.webm'])
    assert.equal((await bucket.exists('list/a.webm')).data, false)
    const missing = await bucket.info('list/a.webm')
    assert.equal(missing.error.message, 'Object not found')
  })

  test('RLS applies to users', async () => {
    const user = connect()
    await signUp(user)
    await dataOf(bucket.upload('closed.webm', BYTES, AUDIO))
    const theirs = user.storage.from(name)
    const upload = await theirs.upload('mine.webm', BYTES, AUDIO)
    assert.deepEqual([upload.error.statusCode, upload.error.message], ['403', 'new row violates row-level security policy'])
    assert.ok((await theirs.download('closed.webm')).error)
    assert.ok((await theirs.createSignedUrl('closed.webm', 60)).error)
    assert.deepEqual(await dataOf(theirs.list()), [])
    assert.deepEqual(await dataOf(theirs.remove(['closed.webm'])), [])
    const made = await user.storage.createBucket(`js-${crypto.randomUUID()}`)
    assert.match(made.error.message, /row-level security/)
    assert.equal(await dataOf(bucket.exists('closed.webm')), true)
  })
})
