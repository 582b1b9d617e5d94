// A worker whose calls and broadcasts a test makes one at a time, as `tests/harness/scripted_worker.py`.
const { SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY } = process.env

async function request(method, path, body) {
  const headers = {
    'content-type': 'application/json',
    apikey: SUPABASE_SERVICE_ROLE_KEY,
    authorization: `Bearer ${SUPABASE_SERVICE_ROLE_KEY}`,
  }
  const response = await fetch(SUPABASE_URL + path, { method, headers, body: JSON.stringify(body) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`)
  return text && JSON.parse(text)
}

const post = (path, body) => request('POST', path, body)
const call = (name, args) => post(`/rest/v1/rpc/${name}`, args)
const broadcast = (topic, event, payload) =>
  post('/realtime/v1/api/broadcast', { messages: [{ topic, event, payload, private: true }] })

const claims = new Map()

/** Claim a smelt as soon as it is due; other due smelts are kept for later calls. */
export async function claim(id) {
  while (!claims.has(id)) {
    const token = crypto.randomUUID()
    const { smelts } = await call('claim_smelts', {
      worker_id: 'scripted',
      claim_token: token,
      max_count: 100,
      lease_s: 600,
    })
    for (const smelt of smelts) claims.set(smelt.id, smelt)
  }
  const claimed = claims.get(id)
  claims.delete(id)
  return new Job(claimed)
}

class Job {
  constructor({ id, attempt, files, options, default_prompt_names }) {
    this.options = options
    this.prompts = default_prompt_names
    this.fence = { smelt_id: id, attempt }
    this.files = files.toSorted((a, b) => a.position - b.position)
  }

  /** Report progress; `texts` are new segments by the position of their file, as texts or segments. */
  async report(status, percentage, { texts = {}, files = [], outputs = [], ...rest } = {}) {
    const segments = Object.entries(texts).flatMap(([position, lines]) =>
      lines.map((line, n) => {
        const index = this.#counts[position] ?? 0
        this.#counts[position] = index + 1
        const { start = index * 4, ...segment } = typeof line === 'string' ? { text: line } : line
        return { file_id: this.files[position].id, index, start, end: start + 4, ...segment }
      }),
    )
    const ofFiles = files.map(({ position, ...report }) => ({ id: this.files[position].id, ...report }))
    const args = { ...this.fence, status, percentage, segments, files: ofFiles, outputs, lease_s: 600, ...rest }
    const { event } = await call('report_smelt_progress', args)
    if (event) await broadcast(`smelt:${this.fence.smelt_id}`, 'progress', { ...event, segments, outputs })
  }

  /** Complete with a result for each of these contents by position. */
  complete(contents) {
    const results = Object.entries(contents).map(([position, content]) => {
      const { id: file_id, filename } = this.files[position]
      return { file_id, filename, content }
    })
    return this.#settle('complete_smelt', { results })
  }

  fail(error_code) {
    return this.#settle('fail_smelt', { error_code })
  }

  #counts = {}

  async #settle(name, args) {
    const { outbox } = await call(name, { ...this.fence, ...args })
    for (const { topic, event, payload } of outbox) await broadcast(topic, event, payload)
    await call('settle_smelt_outbox', { ids: outbox.map(({ id }) => id) })
  }
}

/** Expire the audio of ended smelts, whose retention must be over: no retry uses it from then on. */
export const expireAudio = () => call('list_expired_smelts', { worker_id: 'scripted' })

/** Return the smelts of a user. */
export const smeltsOf = (userId) => request('GET', `/rest/v1/smelts?user_id=eq.${userId}&select=id,status,error_code`)

/** Return the bytes of a stored object. */
export async function stored(path) {
  const headers = { apikey: SUPABASE_SERVICE_ROLE_KEY, authorization: `Bearer ${SUPABASE_SERVICE_ROLE_KEY}` }
  const response = await fetch(`${SUPABASE_URL}/storage/v1/object/smelt-audio/${path}`, { headers })
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}
