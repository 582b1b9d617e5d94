// An app in a page: signs up, uploads with a signed URL, and shows the events of the smelt's channel.
const show = (id, value) => { document.getElementById(id).textContent = value }

async function dataOf(request) {
  const { data, error } = await request
  if (error) throw error
  return data
}

/** Assert that the browser enforces CORS: a URL that does not allow this origin is reachable but unreadable. */
async function assertCors(elsewhere) {
  await fetch(elsewhere, { mode: 'no-cors' })
  const read = await fetch(elsewhere).then(() => true, () => false)
  if (read) throw new Error('CORS is not in force')
}

async function upload(supabase) {
  const audio = await (await fetch('/recording')).blob()
  const smelt = await dataOf(supabase.rpc('create_smelt', {
    files: [{ filename: 'meeting.ogg', size_bytes: audio.size }],
    default_prompt_names: ['summarize'],
  }))
  const bucket = supabase.storage.from('smelt-audio')
  const { path, token } = await dataOf(bucket.createSignedUploadUrl(smelt.files[0].upload_path))
  await dataOf(bucket.uploadToSignedUrl(path, token, audio, { contentType: 'audio/ogg' }))
  return smelt
}

async function follow(supabase, topic) {
  const lines = []
  const addLines = ({ payload }) => {
    for (const { index, text } of payload.segments ?? []) lines[index] = text
    show('transcript', lines.join('\n'))
  }
  await supabase.realtime.setAuth()
  const channel = supabase.channel(topic, { config: { private: true } })
    .on('broadcast', { event: 'progress' }, addLines)
    .on('broadcast', { event: 'segments' }, addLines)
    .on('broadcast', { event: 'failed' }, ({ payload }) => show('outcome', payload.error_message))
    .on('broadcast', { event: 'completed' }, ({ payload }) => {
      show('notes', payload.results[0].content)
      show('outcome', payload.status)
    })
  await new Promise((resolve, reject) => {
    channel.subscribe((status, error) => status === 'SUBSCRIBED' ? resolve() : reject(error ?? new Error(status)))
  })
}

try {
  const { url, key, elsewhere } = await (await fetch('/settings')).json()
  await assertCors(elsewhere)
  const supabase = window.supabase.createClient(url, key)
  await dataOf(supabase.auth.signUp({ email: `${crypto.randomUUID()}@example.com`, password: crypto.randomUUID() }))
  const smelt = await upload(supabase)
  await follow(supabase, smelt.subscription_channel)
  await dataOf(supabase.rpc('submit_smelt', { smelt_id: smelt.id }))
} catch (error) {
  show('outcome', String(error))
}
