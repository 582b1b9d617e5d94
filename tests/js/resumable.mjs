// Uploads a file with tus-js-client, in pieces of 6 MiB: node resumable.mjs FILE BUCKET KEY
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Upload } from 'tus-js-client'

const [file, bucketName, objectName] = process.argv.slice(2)
const { size: uploadSize } = await stat(file)
await new Promise((onSuccess, onError) => new Upload(createReadStream(file), {
  endpoint: `${process.env.SUPABASE_URL}/storage/v1/upload/resumable`,
  headers: { authorization: `Bearer ${process.env.SUPABASE_SERVICE_ROLE_KEY}` },
  metadata: { bucketName, objectName, contentType: 'audio/webm', cacheControl: '3600' },
  chunkSize: 6 * 1024 * 1024,
  retryDelays: Array(100).fill(200),
  uploadSize,
  onSuccess,
  onError,
}).start())
