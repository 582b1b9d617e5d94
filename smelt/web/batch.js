// Watching a batch until its last smelt has ended.
import { SmeltError } from './errors.js'
import { Live } from './live.js'

/** @import { BatchUpdate, BatchView, CallOptions } from './smelt.d.ts' */
/** @import { SmeltClient } from './client.js' */

/** @type {BatchView['connection']} */
const IDLE = { status: 'idle', worker: null, error: null }

/** @param {BatchUpdate} update */
const isLast = ({ status }) => status === 'completed' || status === 'failed'

/** @extends {Live<BatchView, BatchUpdate>} */
export class BatchWatch extends Live {
  /**
   * @param {SmeltClient} client
   * @param {string} id
   */
  constructor(client, id) {
    super(client, { id, batch: null, error: null, connection: IDLE })
    this.id = id
  }

  /** Return the current row. @param {CallOptions} [options] */
  async get(options) {
    const account = await this.client.transport.account()
    const [row] = await account.rows('smelt_batches', { filters: [['id', 'eq', this.id]], limit: 1 }, options)
    if (!row)
      throw new SmeltError('not_found', 'The batch does not exist, or belongs to another user.', { status: 404 })
    return row
  }

  /** Iterate over newer states until all smelts of the batch have ended. @param {{ signal?: AbortSignal }} [options] */
  watch({ signal } = {}) {
    return this.iterate({ signal, isLast, replay: () => (this.view.batch ? [this.view.batch] : []) })
  }

  async channel() {
    const onMessage = (/** @type {string} */ event, /** @type {any} */ payload) => {
      if (event === 'progress' && payload?.batch_id === this.id) this.#merge(payload)
    }
    return { topic: `smelt-batch:${this.id}`, handlers: { onMessage } }
  }

  async load() {
    const { id, ...row } = await this.get({ timeoutMs: 10_000 })
    this.#merge({ ...row, batch_id: id })
  }

  /** A slow consumer gets the newest state only. @param {BatchUpdate[]} _ @param {BatchUpdate} item */
  enqueue(_, item) {
    return [item]
  }

  /** @param {any} state */
  #merge({ batch_id, total, completed, failed, progress, status, eta_seconds = null, seq }) {
    if (this.view.batch && seq <= this.view.batch.seq) return
    const batch = { batch_id, total, completed, failed, progress, status, eta_seconds, seq }
    this.update({ batch })
    this.emit(batch)
    if (isLast(batch)) this.stop()
  }
}
