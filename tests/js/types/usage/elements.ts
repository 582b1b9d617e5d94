// An app that creates the elements itself.
import { connectSmelt } from 'smelt-js'
import { setDefaultClient, texts } from 'smelt-js/elements'

export function mount(supabase: any, id: string, label: string): void {
  const smelt = connectSmelt({ supabase })
  setDefaultClient(smelt)
  texts.cancel = label
  const upload = document.createElement('smelt-upload')
  upload.request = { prompts: ['summarize'], mode: 'separate' }
  const progress = document.createElement('smelt-progress')
  progress.smeltId = id
  upload.addEventListener('smelt-submitted', ({ detail: { job } }) => {
    progress.job = job
  })
  progress.addEventListener('smelt-state', ({ detail: { state, view } }) => {
    if (state === 'completed') document.title = view?.results?.[0]?.filename ?? state
  })
  document.body.append(upload, progress)
}
