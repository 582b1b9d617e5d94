// Event streams: parsing of any cut of the bytes, resumption, half-open and refused connections.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { EventParser, EventStream, Places } from '../../../smelt/web/event-stream.js'
import { GatewayTransport } from '../../../smelt/web/transport-gateway.js'

const cases = (await readFile(new URL('../../contract/merge.jsonl', import.meta.url), 'utf8'))
  .trim()
  .split('\n')
  .flatMap((line) => JSON.parse(line))
  .map(({ news }) => news)
  .filter(({ type }) => type === 'event')

/** Return numbers from 0 to 1 that are the same in each run. */
function* random(seed) {
  for (;;) {
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    yield seed / 2 ** 31
  }
}

test(`parser returns the ${cases.length} events of the merge cases, wherever their bytes are cut`, () => {
  assert.ok(cases.length > 100)
  const frames = cases.map(({ event, payload }, n) => {
    const end = ['\n', '\r\n', '\r'][n % 3]
    const data = `data: ${JSON.stringify(payload)}`
    const lines = [': comment', `event: ${event}`, data, `id: 1.${n}.ü`, 'retry: 1500', '']
    return lines.map((line) => line + end).join('')
  })
  const bytes = new TextEncoder().encode(frames.join(''))
  const numbers = random(7)
  for (const longest of [1, 3, 50, 5000]) {
    const parser = new EventParser()
    const parsed = []
    for (let start = 0; start < bytes.length; ) {
      const end = start + 1 + Math.floor(numbers.next().value * longest)
      parsed.push(...parser.push(bytes.subarray(start, end)))
      start = end
    }
    assert.deepEqual(
      parsed.map(({ event, data }) => ({ type: 'event', event, payload: JSON.parse(data) })),
      cases,
    )
    assert.deepEqual([parser.lastId, parser.retryMs], [`1.${cases.length - 1}.ü`, 1500])
  }
})

test('parser follows the format: data of several lines, a field without a colon, an event that was cut off', () => {
  const parser = new EventParser()
  const push = (text) => parser.push(new TextEncoder().encode(text))
  assert.deepEqual(push('data: one\ndata:  two\ndata\n\nevent: empty\n\ndata: 3\n'), [
    { event: 'message', data: 'one\n two\n' },
  ])
  assert.deepEqual(push('id: 5\n'), [])
  assert.equal(parser.lastId, '') // Its event was not dispatched: a reconnect must send the one before.
  assert.deepEqual(push('\n'), [{ event: 'message', data: '3' }])
  assert.equal(parser.lastId, '5')
})

/** Run a server whose n-th request is answered by the n-th function, the last one for all others. */
async function withServer(answers, run) {
  const requests = []
  const server = createServer((request, response) => {
    requests.push(request.headers)
    answers[Math.min(requests.length, answers.length) - 1](response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    await run(`http://127.0.0.1:${server.address().port}`, requests)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

const stream = (response, text) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(text)
const CONNECTED = 'retry: 10\n\nevent: connected\ndata: {}\n\n'
const progress = (n) => `event: progress\nid: 1.${n}.0\ndata: {"seq":${n}}\n\n`

/** Return a stream that records what its handlers get, and a function that waits for a number of entries. */
function follow(url, { silenceTimeoutMs, token = () => 'user-token', places = new Places(4) } = {}) {
  const gateway = new GatewayTransport({ gateway: url, token })
  const open = (headers, signal) => gateway.send('/api/smelts/x/events', { headers }, signal)
  const log = []
  let wake = () => {}
  const record = (entry) => {
    log.push(entry)
    wake()
  }
  const handlers = {
    onMessage: (event, { seq }) => record(`${event} ${seq}`),
    onJoined: () => record('joined'),
    onLeft: ({ code, transient }) => record(`left ${code}${transient ? '' : ' for good'}`),
  }
  const joined = new EventStream(open, handlers, places, silenceTimeoutMs)
  const until = async (count) => {
    while (log.length < count) await new Promise((resolve) => (wake = resolve))
    return log
  }
  return { joined, log, until }
}

test('stream resumes with the last id after the server has closed it, and after a reset', { timeout: 20_000 }, () =>
  withServer(
    [
      (response) => {
        stream(response, CONNECTED + progress(1))
        response.end()
      },
      (response) => {
        stream(response, CONNECTED + progress(2) + 'id: 1.3.0\ndata: {"se')
        setTimeout(() => response.destroy(), 50)
      },
      (response) => {
        stream(response, CONNECTED)
        response.end()
      },
      (response) => stream(response, CONNECTED + progress(3)),
    ],
    async (url, requests) => {
      const { joined, until } = follow(url)
      const log = await until(10)
      assert.deepEqual(log, [
        ...['joined', 'progress 1', 'left connection_lost'],
        ...['joined', 'progress 2', 'left connection_lost'],
        ...['joined', 'left connection_lost', 'joined', 'progress 3'],
      ])
      assert.deepEqual(
        requests.map((headers) => [headers['last-event-id'], headers.authorization]),
        [
          [undefined, 'Bearer user-token'],
          ['1.1.0', 'Bearer user-token'],
          ['1.2.0', 'Bearer user-token'],
          ['1.2.0', 'Bearer user-token'],
        ],
      )
      assert.equal(joined.joined, true)
      await joined.leave()
      assert.equal(joined.joined, false)
    },
  ),
)

test('stream without comments is half-open: it is replaced; comments keep it', { timeout: 20_000 }, () =>
  withServer(
    [
      (response) => {
        stream(response, CONNECTED)
        const timer = setInterval(() => response.write(': \n\n'), 100)
        setTimeout(() => clearInterval(timer), 1200)
      },
      (response) => stream(response, CONNECTED),
    ],
    async (url) => {
      const startedAt = performance.now()
      const { joined, until } = follow(url, { silenceTimeoutMs: 400 })
      assert.deepEqual(await until(3), ['joined', 'left connection_lost', 'joined'])
      assert.ok(performance.now() - startedAt > 1500)
      await joined.leave()
    },
  ),
)

test('stream with a rejected token reconnects at once with a new one, then with delays', { timeout: 20_000 }, () => {
  const reject = (response) =>
    response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"No.","code":"unauthorized"}')
  const times = []
  return withServer([reject, reject, (response) => stream(response, CONNECTED)], async (url, requests) => {
    let n = 0
    const token = async () => {
      times.push(performance.now())
      return `token-${(n += 1)}`
    }
    const { joined, until } = follow(url, { token })
    assert.deepEqual(await until(3), ['left unauthorized', 'left unauthorized', 'joined'])
    assert.deepEqual(
      requests.map(({ authorization }) => authorization),
      ['Bearer token-1', 'Bearer token-2', 'Bearer token-3'],
    )
    assert.ok(times[1] - times[0] < 400 && times[2] - times[1] > 400)
    await joined.leave()
  })
})

const refuse = (status, code, headers = {}) => (response) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ error: 'No.', code }))

test('stream retries 503 and 429, not before the time of Retry-After', { timeout: 30_000 }, () => {
  const times = []
  const timed = (answer) => (response) => {
    times.push(performance.now())
    answer(response)
  }
  const answers = [
    refuse(503, 'unavailable', { 'retry-after': '2' }),
    refuse(429, 'too_many_requests', { 'retry-after': '4' }),
    (response) => stream(response, CONNECTED),
  ]
  return withServer(answers.map(timed), async (url) => {
    const { joined, until } = follow(url)
    assert.deepEqual(await until(3), ['left unavailable', 'left too_many_requests', 'joined'])
    // The backoff alone would be at most 1 s and 2 s.
    assert.ok(times[1] - times[0] > 1900 && times[2] - times[1] > 3900, `${times}`)
    await joined.leave()
  })
})

for (const [status, code] of [
  [401, 'unauthorized'],
  [401, 'token_expired'],
  [403, 'forbidden'],
  [404, 'not_found'],
]) {
  test(`stream stops for good on ${status} ${code}, and frees its place`, { timeout: 30_000 }, () => {
    const unavailable = refuse(503, 'unavailable')
    const answers = [refuse(status, code), unavailable, unavailable, (response) => stream(response, CONNECTED)]
    return withServer(answers, async (url, requests) => {
      const places = new Places(1)
      const { joined, log, until } = follow(url, { places, token: 'constant' })
      await until(1)
      // Until the second stream is joined, the first one would have tried again as well.
      const second = follow(url, { places })
      await second.until(3)
      assert.deepEqual([log, joined.joined, requests.length], [[`left ${code} for good`], false, 4])
      await second.joined.leave()
    })
  })
}

test('stream begins again with the state after 204, and an event error ends it', { timeout: 20_000 }, () =>
  withServer(
    [
      (response) => {
        stream(response, CONNECTED + progress(1) + 'event: error\ndata: {"error":"Expired.","code":"unauthorized"}\n\n')
        response.end()
      },
      (response) => response.writeHead(204).end(),
      (response) => stream(response, CONNECTED + progress(1)),
    ],
    async (url, requests) => {
      const { joined, until } = follow(url)
      assert.deepEqual(await until(6), [
        ...['joined', 'progress 1', 'left unauthorized', 'left connection_lost'],
        ...['joined', 'progress 1'],
      ])
      assert.deepEqual(
        requests.map((headers) => headers['last-event-id']),
        [undefined, '1.1.0', undefined],
      )
      await joined.leave()
    },
  ),
)

test('nothing is called after leave, and a stream without a place waits for one', { timeout: 20_000 }, () =>
  withServer([(response) => stream(response, CONNECTED)], async (url, requests) => {
    const places = new Places(1)
    const first = follow(url, { places })
    const second = follow(url, { places })
    const third = follow(url, { places })
    await first.until(1)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.deepEqual([second.log, requests.length], [[], 1])
    await second.joined.leave()
    await first.joined.leave()
    assert.deepEqual(await third.until(1), ['joined'])
    await third.joined.leave()
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.deepEqual([first.log, second.log, third.log, requests.length], [['joined'], [], ['joined'], 2])
  }),
)

test('token function that never returns, or a gateway that never responds, holds no call', { timeout: 20_000 }, () =>
  withServer([() => {}], async (url) => {
    const never = new GatewayTransport({ gateway: url, token: () => new Promise(() => {}) })
    await assert.rejects(never.call('get_smelts', { smelts: [] }, { timeoutMs: 100 }), { transient: true })
    const silent = new GatewayTransport({ gateway: `${url}/` })
    await assert.rejects(silent.call('get_smelts', { smelts: [] }, { timeoutMs: 100 }), { transient: true })
    const stop = new AbortController()
    const call = silent.call('get_smelts', { smelts: [] }, { signal: stop.signal })
    stop.abort(new Error('mine'))
    await assert.rejects(call, /mine/)
  }),
)
