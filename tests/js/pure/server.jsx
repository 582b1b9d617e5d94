import { renderToString } from 'react-dom/server'
import { connectSmelt } from 'smelt-js'
import {
  SmeltProvider,
  useSmelt,
  useSmeltBatch,
  useSmeltConnection,
  useSmeltNotifications,
  useSmelts,
  useSmeltSubscription,
} from 'smelt-js/react'

/** Any use of the transport fails. */
const transport = new Proxy({}, { get: (_, name) => assertUnused(name) })
const supabase = new Proxy({}, { get: (_, name) => assertUnused(name) })

function assertUnused(name) {
  throw new Error(`${String(name)} was used on a server`)
}

function App() {
  const { status } = useSmeltSubscription(supabase, 'a')
  const smelt = useSmelt('b')
  const { smelts } = useSmelts()
  const { unreadCount } = useSmeltNotifications()
  const batch = useSmeltBatch('c')
  const { isConnected } = useSmeltConnection()
  return [
    status,
    smelt.status,
    smelt.connection,
    JSON.stringify(smelts),
    unreadCount,
    batch.connection,
    isConnected,
  ].join(' ')
}

export const html = renderToString(
  <SmeltProvider client={connectSmelt({ transport })}>
    <App />
  </SmeltProvider>,
)
