// Watching a batch. Its end is not final: a smelt may be retried or added.
import { SmeltError } from './errors.js'
import { Live } from './live.js'

/** @import { BatchUpdate, BatchView, CallOptions } from './smelt.d.ts' */
/** @import { SmeltClient } from './client.js' */

/** @param {BatchUpdate} update */
const isLast = ({ status }) => status === 'completed' || status === 'failed'

/** @extends {Live<BatchView, BatchUpdate>} */
export class BatchWatch extends Live {
  /**
   * @param {SmeltClient} client
   * @param {BatchView} view
   */
  constructor(client, view) {
    super(client, view)
    this.id = view.id
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
    const replay = () => {
      const { batch } = this.view
      if (this.isSettled) this.requestUpdate() // A known end may be over.
      return batch && !this.isSettled ? [batch] : []
    }
    return this.iterate({ signal, isLast, replay })
  }

  get isSettled() {
    return !!this.view.batch && isLast(this.view.batch)
  }

  async channel() {
    const onMessage = (/** @type {string} */ event, /** @type {any} */ payload) => {
      if (event === 'progress' && payload?.batch_id === this.id) this.#merge(payload, false)
    }
    return { topic: `smelt-batch:${this.id}`, handlers: { onMessage } }
  }

  load() {
    return this.get({ timeoutMs: 10_000 })
  }

  /** @param {import('./contract.d.ts').Batch} row */
  merge(row) {
    this.#merge({ ...row, batch_id: row.id }, !this.isRequested)
  }

  /** A slow consumer gets the newest state only. @param {BatchUpdate[]} _ @param {BatchUpdate} item */
  enqueue(_, item) {
    return [item]
  }

  /**
   * Merge a newer state. An end that is confirmed by a read is emitted again, for an iteration that began after it.
   * @param {any} state
   * @param {boolean} confirms
   */
  #merge({ batch_id, total, completed, failed, progress, status, eta_seconds = null, seq }, confirms) {
    const known = this.view.batch
    if (known && (seq < known.seq || (seq === known.seq && !(confirms && isLast(known))))) return
    const batch = { batch_id, total, completed, failed, progress, status, eta_seconds, seq }
    if (seq !== known?.seq) this.update({ batch })
    this.emit(batch)
    if (known && isLast(known) !== isLast(batch)) this.planRead()
  }
}
