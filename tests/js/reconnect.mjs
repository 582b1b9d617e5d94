// Joins a channel and prints each status and message of supabase-js as a line of JSON, until its input ends.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const print = (line) => console.log(JSON.stringify(line))

const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
})
supabase
  .channel('room')
  .on('broadcast', { event: 'e' }, ({ payload }) => print({ received: 'broadcast', n: payload.n }))
  .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'notes' }, (change) => print({ received: 'change', n: change.new.id }))
  .subscribe((status) => print({ status }))

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
