// The state of smelt-js has the outputs while a language model writes them.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { connectSmelt } from '../../../smelt/web/index.js'
import { startProxy } from '../proxy.mjs'
import { startLanguageModel } from './language-model.mjs'

const TIMEOUT_MS = 60_000

let model
before(async () => {
  model = await startLanguageModel()
})
after(() => model?.close())

const outputsOf = ({ outputs }) =>
  outputs.map(({ title, content, is_complete }) => `${title}${is_complete ? '' : '...'} ${content}`)

/** Create a smelt and observe it; `waitFor` waits until its state has these outputs. */
async function observe(t, url = process.env.SUPABASE_URL) {
  const auth = { persistSession: false, autoRefreshToken: false }
  const supabase = createClient(url, process.env.SUPABASE_ANON_KEY, { auth, realtime: { transport: WebSocket } })
  const smelt = connectSmelt({ supabase })
  const job = await smelt.create({ text: 'Anna will call Ben.', prompts: ['summarize', 'qa_format'] })
  const views = []
  t.after(job.subscribe(() => views.push(job.getSnapshot())))
  const waitFor = async (...outputs) => {
    for (const deadline = Date.now() + TIMEOUT_MS; ; await sleep(20)) {
      const present = outputsOf(job.getSnapshot())
      if (present.join() === outputs.join()) return
      if (Date.now() > deadline) assert.deepEqual(present, outputs)
    }
  }
  return { job, views, waitFor }
}

/** Assert that no view has an output twice, and that a complete one stays until the end of its run. */
function assertOutputs(views) {
  let complete = new Map()
  let run = 0
  for (const view of views) {
    if (view.run !== run || view.completed_at) complete = new Map()
    run = view.run
    const keys = view.outputs.map(({ file_id, position }) => `${file_id} ${position}`)
    assert.equal(new Set(keys).size, keys.length)
    view.outputs.forEach(({ content, is_complete }, n) => is_complete && complete.set(keys[n], content))
    for (const [key, content] of complete) assert.equal(view.outputs[keys.indexOf(key)]?.content, content)
    if (view.completed_at) assert.deepEqual(view.outputs, [])
  }
}

test('outputs grow in the state, and are there once after a killed worker and a cut connection', async (t) => {
  const proxy = await startProxy()
  t.after(proxy.close)
  const killed = model.startWorker()
  const { job, views, waitFor } = await observe(t, proxy.url)
  const summary = await model.next()
  assert.match(summary.instruction, /^Summarize/)
  summary.write('Anna')
  await waitFor('Summary... Anna')
  summary.end(' calls Ben.')
  const interrupted = await model.next()
  interrupted.write('**Q: Who')
  await waitFor('Summary Anna calls Ben.', 'Questions and answers... **Q: Who')
  proxy.cut()
  killed.kill('SIGKILL')
  model.startWorker()
  const pairs = await model.next()
  assert.doesNotMatch(pairs.instruction, /^Summarize/)
  pairs.write('**Q: Whom')
  proxy.restore()
  await waitFor('Summary Anna calls Ben.', 'Questions and answers... **Q: Whom')
  pairs.end(' does Anna call?**\n\nA: Ben.')
  const { results } = await job.done
  assert.match(results[0].content, /Anna calls Ben\.[^]*\*\*Q: Whom does Anna call\?\*\*/)
  assertOutputs(views)

  // A cancelled smelt has no outputs, and its next run none of the former one.
  const other = await observe(t)
  const stopped = await model.next()
  stopped.write('Stale')
  await other.waitFor('Summary... Stale')
  await other.job.cancel()
  await other.waitFor()
  await other.job.retry()
  const again = await model.next()
  again.write('Fresh')
  await other.waitFor('Summary... Fresh')
  again.end('.')
  ;(await model.next()).end('**Q: Who?**\n\nA: Anna.')
  await other.job.done
  assertOutputs(other.views)
})
