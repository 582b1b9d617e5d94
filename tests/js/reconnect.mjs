// Joins a channel, and tells line by line what supabase-js sees of it, until its input ends.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const tell = (line) => console.log(JSON.stringify(line))

const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
})
supabase
  .channel('room')
  .on('broadcast', { event: 'e' }, ({ payload }) => tell({ heard: 'broadcast', n: payload.n }))
  .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'notes' }, (change) => tell({ heard: 'change', n: change.new.id }))
  .subscribe((status) => tell({ status }))

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
