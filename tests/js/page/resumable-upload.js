// Uploads the same 20 MiB with the same key in each load of the page, and reloads it once in the middle; `outcome` is
// set at the end.
import { createClient } from '@supabase/supabase-js'
import { connectSmelt } from 'smelt-js'

const MIB = 1024 * 1024
const { url, key } = await (await fetch('/settings')).json()
const supabase = createClient(url, key)

/** Return bytes that are the same in each load, and differ between pieces. */
function sameBytes() {
  const words = new Uint32Array(5 * MIB)
  for (let n = 0; n < words.length; n += 1) words[n] = Math.imul(n, 2654435761)
  return new Uint8Array(words.buffer)
}

async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).join()
}

async function outcomeOf(bytes) {
  const { data } = await supabase.auth.getSession()
  const account = { email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }
  if (!data.session) await supabase.auth.signUp(account)
  let first
  const onUpload = ({ loaded }) => {
    first ??= loaded
    if (loaded < 9 * MIB || sessionStorage.getItem('reloaded')) return
    sessionStorage.setItem('reloaded', 'yes')
    location.reload()
  }
  const file = new File([bytes], 'talk.ogg', { type: 'audio/ogg', lastModified: 1 })
  const idempotencyKey = 'the same after a reload'
  const job = await connectSmelt({ supabase }).create({ files: [file], idempotencyKey, onUpload })
  const { data: stored, error } = await supabase.storage.from('smelt-audio').download(job.files[0].upload_path)
  if (error) throw error
  await job.cancel()
  return { first, sent: await sha256(bytes), stored: await sha256(await stored.arrayBuffer()) }
}

outcomeOf(sameBytes()).then(
  (outcome) => (window.outcome = outcome),
  (error) => (window.outcome = { error: `${error}` }),
)
