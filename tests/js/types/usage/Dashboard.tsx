// The provider, the state of the connection, polled queries and DOM events, as an app with TanStack Query uses them.
import type { SupabaseClient } from '@supabase/supabase-js'
import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { smartPolling, smeltQueryInvalidator } from 'smelt-js/query'
import { SmeltProvider, useSmeltClient, useSmeltConnection } from 'smelt-js/react'

const queryClient = new QueryClient()
const invalidator = smeltQueryInvalidator(queryClient)

export function Dashboard({ supabase }: { supabase: SupabaseClient }) {
  return (
    <QueryClientProvider client={queryClient}>
      <SmeltProvider supabase={supabase} domEvents invalidator={invalidator}>
        <Connection />
        <Smelts />
        <LastUpdate />
      </SmeltProvider>
    </QueryClientProvider>
  )
}

function Connection() {
  const { isConnected, isConnecting, error } = useSmeltConnection()
  return (
    <div>
      <p id="connection">Status: {isConnected ? 'Connected' : isConnecting ? 'Connecting...' : 'Disconnected'}</p>
      {error && <p>Error: {error}</p>}
    </div>
  )
}

function Smelts() {
  const smelt = useSmeltClient()
  const key = ['smelts', 'paginated', 1]
  const { data } = useQuery({
    queryKey: key,
    queryFn: () => smelt.list({ limit: 10 }),
    refetchInterval: smartPolling(key),
  })
  return (
    <ul id="smelts">
      {data?.map(({ id, status }) => (
        <li key={id}>
          {id}: {status}
        </li>
      ))}
    </ul>
  )
}

function LastUpdate() {
  const [update, setUpdate] = useState('none')
  useEffect(() => {
    const onUpdate = (event: WindowEventMap['smelt:update']) => setUpdate(`${event.detail.topic} ${event.detail.event}`)
    window.addEventListener('smelt:update', onUpdate)
    return () => window.removeEventListener('smelt:update', onUpdate)
  }, [])
  return <p id="update">{update}</p>
}
