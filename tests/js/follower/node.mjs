// Runs commands from its input, one line of JSON each, until it ends; prints lines of JSON.
import { createInterface } from 'node:readline'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import * as smeltJs from '../../../smelt/web/index.js'
import { follower } from './follow.js'

const print = (line) => console.log(JSON.stringify(line))
const run = follower({
  createClient,
  smeltJs,
  // Node has no WebSocket before version 22.
  realtime: { transport: globalThis.WebSocket ?? WebSocket },
  print,
})
// supabase-js throws errors of messages that it can't decode; a page would go on.
process.on('uncaughtException', (error) => print({ name: null, of: 'process', type: 'uncaught', error: `${error}` }))
for await (const line of createInterface({ input: process.stdin })) run(JSON.parse(line))
process.exit(0)
