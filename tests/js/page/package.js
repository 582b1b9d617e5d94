// An app in a page that uses the package: uploads with progress, and shows the state of its smelt.
import { connectSmelt } from '/smelt/index.js'

const show = (id, value) => {
  document.getElementById(id).textContent = value
}

try {
  const { url, key } = await (await fetch('/settings')).json()
  const supabase = window.supabase.createClient(url, key)
  const smelt = connectSmelt({ supabase, domEvents: true })
  const events = []
  window.addEventListener('smelt:update', ({ detail }) => events.push(detail.event))
  const uploads = []
  const recording = await (await fetch('/recording')).blob()
  // Large enough for several reports of progress; what follows the recording is not audio, and is skipped.
  const blob = new Blob([recording, new Uint8Array(8_000_000)], { type: 'audio/ogg' })
  const rejected = await smelt.create({ files: [{ blob, filename: 'meeting.exe' }] }).catch((error) => error.code)
  const job = await smelt.create({
    files: [{ blob, filename: 'meeting.ogg' }],
    prompts: ['summarize'],
    onUpload: ({ loaded, size }) => uploads.push([loaded, size]),
  })
  job.subscribe(() => {
    const { segments } = job.getSnapshot()
    show(
      'transcript',
      Object.values(segments)
        .flat()
        .map(({ text }) => text)
        .join('\n'),
    )
  })
  const { status, results } = await job.done
  show('uploads', JSON.stringify({ uploads, rejected, events }))
  show('notes', results[0].content)
  show('outcome', status)
} catch (error) {
  show('outcome', `${error}`)
}
