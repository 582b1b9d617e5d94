import { formatRemaining, toSrt } from 'smelt-js'
import { useSmelt } from 'smelt-js/react'

/** The live transcript of a smelt, and its results once it is completed. */
export function Transcript({ id }: { id: string }) {
  const { status, progress, files, segments, results, error, eta, connection, cancel, retry } = useSmelt(id)
  const isRunning = status !== 'completed' && status !== 'failed'

  return (
    <section>
      {isRunning && (
        <>
          <progress aria-label="Transcription" value={progress?.percentage ?? 0} max={100} />
          <p role="status">
            {progress?.message ?? 'Starting...'} {formatRemaining(eta)}
            {connection === 'polling' && ' The live connection is lost; the page updates every few seconds.'}
          </p>
          <button onClick={cancel}>Cancel</button>
        </>
      )}
      {error && (
        <p role="alert">
          {error.message} <button onClick={retry}>Try again</button>
        </p>
      )}
      {files.map((file) => (
        <article key={file.id}>
          <h2>{file.filename}</h2>
          <p className="transcript">{segments[file.id]?.map(({ text }) => text).join(' ')}</p>
          {status === 'completed' && segments[file.id] && (
            <a
              download={`${file.filename}.srt`}
              href={`data:text/plain;charset=utf-8,${encodeURIComponent(toSrt(segments[file.id]))}`}
            >
              Captions
            </a>
          )}
        </article>
      ))}
      {results?.map(({ file_id, content }) => (
        <pre key={file_id}>{content}</pre>
      ))}
    </section>
  )
}
