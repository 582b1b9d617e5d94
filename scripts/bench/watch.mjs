// Follows a smelt with smelt-js over supabase-js; prints `live` once it is joined, and when each percentage arrives.
import { createRequire } from 'node:module'
import { connectSmelt } from '../../smelt/web/index.js'

const require = createRequire(new URL('../../tests/js/package.json', import.meta.url))
const { createClient } = require('@supabase/supabase-js')
const { url, key, token, smelt_id: id } = JSON.parse(process.argv[2])
const supabase = createClient(url, key, {
  accessToken: async () => token,
  // Node has no WebSocket before version 22.
  realtime: { transport: globalThis.WebSocket ?? require('ws') },
})
for await (const update of connectSmelt({ supabase }).job(id).watch({ connectionEvents: true })) {
  const nowS = (performance.timeOrigin + performance.now()) / 1000
  if (update.type === 'connection' && update.status === 'live') console.log('live')
  if (update.type === 'progress') console.log(`${update.progress.percentage} ${nowS}`)
}
process.exit(0)
