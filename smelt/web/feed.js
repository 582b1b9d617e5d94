// All smelts and files that the signed-in user owns, from live changes and reads.
import { UserLive } from './live.js'
import { GAP_READ_MS } from './polling.js'

/** @import { Account, FeedChange, FeedView } from './smelt.d.ts' */
/** @import { FileRow, SmeltRow } from './contract.d.ts' */
/** @import { SmeltClient } from './client.js' */

const LIVE_READ_MS = 300_000
const TOMBSTONE_MS = 60_000

/** @extends {UserLive<FeedView, FeedChange>} */
export class Feed extends UserLive {
  /** @type {Record<'smelts' | 'smelt_files', Map<string, any>>} */
  #rows = { smelts: new Map(), smelt_files: new Map() }
  /** @type {Set<string>} ids of rows that changed live while a read was running */
  #touched = new Set()
  /** @type {Map<string, number>} */
  #deletedAt = new Map()

  /** @param {SmeltClient} client @param {FeedView} view */
  constructor(client, view) {
    super(client, view, LIVE_READ_MS)
  }

  /** Iterate over changes: the existing rows first, as inserts. @param {{ signal?: AbortSignal }} [options] */
  watch({ signal } = {}) {
    const existing = () => [
      ...this.view.smelts.map((row) => change('smelts', 'insert', row, null)),
      ...this.view.files.map((row) => change('smelt_files', 'insert', row, null)),
    ]
    return this.iterate({ signal, replay: existing })
  }

  async channel() {
    const userId = await this.signedIn()
    const filter = `user_id=eq.${userId}`
    return {
      topic: `smelt-feed:${userId}`,
      handlers: {
        changes: [
          { table: 'smelts', filter },
          { table: 'smelt_files', filter },
        ],
        onMessage: (/** @type {string} */ event, /** @type {any} */ payload) =>
          event === 'smelts_deleted' && this.#mergeDeleted(payload?.ids),
        onChange: (/** @type {any} */ { table, new: row, errors }) => this.#mergeChange(table, row, errors),
      },
    }
  }

  clear() {
    for (const rows of Object.values(this.#rows)) rows.clear()
  }

  /** @param {Account} account */
  loadRows(account) {
    this.#touched.clear()
    // RLS limits both to the rows of the user.
    return Promise.all([account.rows('smelts', {}), account.rows('smelt_files', {})])
  }

  /** @param {[any[], any[]]} rows */
  mergeRows([smelts, files]) {
    // Changes that arrived meanwhile may be older: those from before the join that triggered the read. That of a file,
    // which has no `seq`, may also be newer: the next read decides it.
    const ahead = new Set(smelts.filter(({ id, seq }) => !(this.#rows.smelts.get(id)?.seq >= seq)).map(({ id }) => id))
    const undoes = (/** @type {any} */ { id, smelt_id }) => ahead.has(smelt_id ?? id) && this.#touched.delete(id)
    const replaced = [...smelts, ...files].filter(undoes)
    const isUncertain = replaced.some((row) => row.smelt_id && !isSame(row, this.#rows.smelt_files.get(row.id)))
    this.liveReadMs = isUncertain ? GAP_READ_MS : LIVE_READ_MS
    this.#publish([...this.#mergeTable('smelts', smelts), ...this.#mergeTable('smelt_files', files)])
  }

  /** @param {'smelts' | 'smelt_files'} table @param {any} row @param {unknown} errors */
  #mergeChange(table, row, errors) {
    this.eventAt = performance.now()
    if (!row?.id || errors) return this.requestUpdate() // Realtime sends rows that are too large without some columns.
    this.#touched.add(row.id)
    const merged = { ...this.#rows[table].get(row.id), ...row }
    if (merged.created_at === undefined || merged.status === undefined) return this.requestUpdate()
    this.#publish(this.#put(table, merged))
  }

  /** @param {unknown} ids */
  #mergeDeleted(ids) {
    if (!Array.isArray(ids)) return this.requestUpdate()
    const now = performance.now()
    for (const [id, at] of this.#deletedAt) if (now - at > TOMBSTONE_MS) this.#deletedAt.delete(id)
    for (const id of ids) this.#deletedAt.set(id, now)
    const gone = [...this.#rows.smelt_files.values()].filter((file) => this.#deletedAt.has(file.smelt_id))
    const smelts = [...this.#rows.smelts.values()].filter(({ id }) => this.#deletedAt.has(id))
    this.#publish([
      ...gone.map((row) => this.#remove('smelt_files', row)),
      ...smelts.map((row) => this.#remove('smelts', row)),
    ])
  }

  /** @param {'smelts' | 'smelt_files'} table @param {any[]} rows */
  #mergeTable(table, rows) {
    const read = new Set(rows.map(({ id }) => id))
    const gone = [...this.#rows[table].values()].filter(({ id }) => !read.has(id) && !this.#touched.has(id))
    const kept = rows.filter(({ id }) => !this.#touched.has(id))
    return [...gone.map((row) => this.#remove(table, row)), ...kept.flatMap((row) => this.#put(table, row))]
  }

  /** @param {'smelts' | 'smelt_files'} table @param {any} row @returns {FeedChange[]} */
  #put(table, row) {
    const before = this.#rows[table].get(row.id) ?? null
    if (this.#deletedAt.has(table === 'smelts' ? row.id : row.smelt_id)) return []
    if (before && (row.seq < before.seq || isSame(row, before))) return []
    this.#rows[table].set(row.id, row)
    return [change(table, before ? 'update' : 'insert', row, before)]
  }

  /** @param {'smelts' | 'smelt_files'} table @param {any} row */
  #remove(table, row) {
    this.#rows[table].delete(row.id)
    return change(table, 'delete', row, row)
  }

  /** @param {FeedChange[]} changes */
  #publish(changes) {
    if (!changes.length && this.view.isLoaded) return
    const newest = (/** @type {SmeltRow} */ a, /** @type {SmeltRow} */ b) => (a.created_at < b.created_at ? 1 : -1)
    /** @type {SmeltRow[]} */
    const smelts = [...this.#rows.smelts.values()].sort(newest)
    /** @type {Partial<Record<SmeltRow['status'], number>>} */
    const counts = {}
    for (const { status } of smelts) counts[status] = (counts[status] ?? 0) + 1
    /** @type {FileRow[]} */
    const files = [...this.#rows.smelt_files.values()].sort((a, b) => a.position - b.position)
    this.update({ smelts, files, counts, isLoaded: true })
    for (const one of changes) this.emit(one)
  }
}

/** @param {any} row @param {any} other */
const isSame = (row, other) => JSON.stringify(row) === JSON.stringify(other)

/**
 * Return a change with the keys of the cache entries that it makes stale.
 * @param {'smelts' | 'smelt_files'} table
 * @param {FeedChange['kind']} kind
 * @param {any} row
 * @param {any} before
 * @returns {FeedChange}
 */
function change(table, kind, row, before) {
  if (table === 'smelt_files') return { type: 'file', kind, row, before, keys: [['smelt', row.smelt_id]] }
  /** @type {FeedChange['keys'][number][]} */
  const keys = [['smelt', row.id], ['smelts']]
  if (!before || kind !== 'update' || before.status !== row.status) keys.push(['smelt-counts'])
  return { type: 'smelt', kind, row, before, keys }
}
