// A component in the shape of the plan for realtime progress: it shows the progress of a smelt, and then its results.
import type { SupabaseClient } from '@supabase/supabase-js'
import { useSmeltSubscription } from 'smelt-js/react'

export function SmeltProgress({ supabaseClient, smeltId }: { supabaseClient: SupabaseClient; smeltId: string | null }) {
  const { status, progress, results, error } = useSmeltSubscription(supabaseClient, smeltId)

  if (error) return <div className="error">{error.message}</div>

  if (status === 'completed' && results) {
    return (
      <div className="results">
        <h2>Complete!</h2>
        {results.map((result) => (
          <div key={result.file_id}>
            <h3>{result.filename}</h3>
            <pre>{result.content}</pre>
          </div>
        ))}
      </div>
    )
  }

  return (
    <div>
      <div className="progress-bar" style={{ width: `${progress?.percentage ?? 0}%` }} />
      <p>{progress?.message ?? 'Starting...'}</p>
    </div>
  )
}
