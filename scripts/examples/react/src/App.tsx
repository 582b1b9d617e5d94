import { useState } from 'react'
import { useSmeltUpload } from 'smelt-js/react'
import { Transcript } from './Transcript'

export function App() {
  const { upload, isUploading, progress, error } = useSmeltUpload()
  const [smeltId, setSmeltId] = useState<string | null>(null)

  async function transcribe(files: FileList | null) {
    if (!files?.length) return
    const job = await upload({ files: [...files], prompts: ['summarize'] }).catch(() => null) // Shown as `error`.
    if (job) setSmeltId(job.id)
  }

  return (
    <main>
      <h1>Transcribe a recording</h1>
      <input
        type="file"
        accept="audio/*,video/*"
        multiple
        disabled={isUploading}
        onChange={(event) => transcribe(event.target.files)}
      />
      {isUploading && <progress aria-label="Upload" value={progress?.totalLoaded ?? 0} max={progress?.total ?? 1} />}
      {error && <p role="alert">{error.message}</p>}
      {smeltId && <Transcript key={smeltId} id={smeltId} />}
    </main>
  )
}
