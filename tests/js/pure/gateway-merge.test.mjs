// The shared cases of the merge over the transports of a gateway: events in a stream, reads in responses.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { initialState, merge } from '../../../smelt/web/merge.js'
import { gatewayTransport } from '../../../smelt/web/transport-gateway.js'

const SMELT = '00000000-0000-0000-0000-000000000001'
const cases = (await readFile(new URL('../../contract/merge.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))

/** Run a gateway that sends `send(event, payload)` to its streams, and has `states.current` as the state of the smelt. */
async function withGateway(run) {
  const streams = new Set()
  const states = { current: null }
  const server = createServer((request, response) => {
    if (request.url.startsWith(`/api/smelts/${SMELT}/events`)) {
      streams.add(response.writeHead(200, { 'content-type': 'text/event-stream' }))
      return response.write('retry: 10\nevent: connected\ndata: {}\n\n')
    }
    const { current } = states
    const body = request.url === '/api/smelts/states' ? { smelts: [current], missing: [] } : current
    request.resume()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const send = (event, payload) =>
    streams.forEach((stream) => stream.write(`event: ${event}\ndata: ${JSON.stringify(payload)}\n\n`))
  try {
    await run(`http://127.0.0.1:${server.address().port}`, send, states)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

/** Join the channel of the smelt; `next` waits for the next event, `leave` ends it. */
async function joined(transport) {
  const events = []
  let wake = () => {}
  let channel
  await new Promise((resolve, reject) => {
    const onMessage = (event, payload) => {
      events.push({ type: 'event', event, payload })
      wake()
    }
    channel = transport.join(`smelt:${SMELT}`, { onMessage, onJoined: resolve, onLeft: reject })
  })
  const next = async () => {
    while (!events.length) await new Promise((resolve) => (wake = resolve))
    return events.shift()
  }
  return { next, leave: () => channel.leave() }
}

for (const [name, options] of [
  ['user', { token: 'user-token' }],
  ['read-only token', { readToken: 'read-token' }],
]) {
  test(`merge over a gateway has the results of Python in ${cases.length} cases: ${name}`, { timeout: 60_000 }, () =>
    withGateway(async (gateway, send, states) => {
      const transport = gatewayTransport({ gateway, ...options })
      const { next, leave } = await joined(transport)
      const received = async (news) => {
        if (news.type === 'event') {
          send(news.event, news.payload)
          return next()
        }
        if (news.type !== 'read') return news
        states.current = news.state
        const { smelts } = await transport.call('get_smelts', { smelts: [{ id: SMELT }] })
        return { ...news, state: smelts[0] }
      }
      assert.ok(cases.length > 100)
      for (const [n, steps] of cases.entries()) {
        let state = initialState(SMELT)
        for (const [step, { news, updates }] of steps.entries()) {
          const merged = merge(state, await received(news))
          state = merged.state
          assert.deepEqual(merged.updates, updates, `line ${n + 1}, step ${step}`)
        }
      }
      await leave()
    }),
  )
}
