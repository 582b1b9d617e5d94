// Lists of smelts.

/** @import { ListOptions, Transport } from './smelt.d.ts' */
/** @import { FileRow, SmeltRow } from './contract.d.ts' */

/**
 * Return the newest smelts of the signed-in user, each with its files.
 * @param {Transport} transport
 * @param {ListOptions} [options]
 * @returns {Promise<(SmeltRow & { files: FileRow[] })[]>}
 */
export async function listSmelts(transport, { status, batchId, before, limit = 50, signal } = {}) {
  /** @type {[string, string, unknown][]} */
  const filters = []
  if (status) filters.push(['status', 'in', `(${[status].flat().join()})`])
  if (batchId) filters.push(['batch_id', 'eq', batchId])
  if (before) filters.push(['created_at', 'lt', before])
  const query = { columns: '*, files:smelt_files(*)', filters, order: 'created_at', limit }
  return (await transport.account()).rows('smelts', query, { signal })
}
