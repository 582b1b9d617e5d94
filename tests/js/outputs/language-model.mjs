// A language model whose texts a test writes, and workers that use it.
import { spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { createServer } from 'node:http'

const line = (choice) =>
  `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 0, model: 'm', choices: [{ index: 0, ...choice }] })}\n\n`

/** A response that a test writes. */
class Completion {
  constructor(response, { messages }) {
    this.response = response
    this.instruction = messages[1].content
    response.writeHead(200, { 'content-type': 'text/event-stream' })
  }

  /** Send a part of the text. */
  write(content) {
    this.response.write(line({ delta: { content }, finish_reason: null }))
  }

  /** Send the rest of the text. */
  end(content) {
    this.write(content)
    this.response.end(`${line({ delta: {}, finish_reason: 'stop' })}data: [DONE]\n\n`)
  }
}

/** Serve an endpoint with OpenAI's protocol; `next` returns the next request, `startWorker` a process that uses it. */
export async function startLanguageModel() {
  const workers = new Set()
  const server = createServer(async (request, response) => {
    const body = (await request.toArray()).join('')
    if (request.method === 'POST') return server.emit('completion', new Completion(response, JSON.parse(body)))
    const data = [{ id: 'm', object: 'model', created: 0, owned_by: 'me' }]
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ object: 'list', data }))
  })
  const completions = on(server, 'completion')
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const env = {
    ...process.env,
    SMELT_LLM_BASE_URL: `http://127.0.0.1:${server.address().port}/v1`,
    SMELT_LLM_MODEL: 'm',
    SMELT_LEASE_S: '5',
  }
  const startWorker = () => {
    const worker = spawn(process.env.PYTHON, ['-m', 'smelt', 'worker'], { env, stdio: 'ignore' })
    workers.add(worker)
    return worker
  }
  const next = async () => (await completions.next()).value[0]
  const close = () => {
    for (const worker of workers) worker.kill('SIGKILL')
    server.closeAllConnections()
    server.close()
  }
  return { next, startWorker, close }
}
