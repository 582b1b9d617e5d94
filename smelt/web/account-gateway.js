// What belongs to the signed-in user, over smelt's HTTP gateway.
import { claimsOf } from './account-supabase.js'
import { SmeltError } from './errors.js'

/** @import { Account, CallOptions, Query } from './smelt.d.ts' */
/** @import { GatewayTransport } from './transport-gateway.js' */

const PAGE = 200

/** @implements {Account} */
export class GatewayAccount {
  /** @type {Promise<any[]> | undefined} */
  #all

  /** @param {GatewayTransport} gateway */
  constructor(gateway) {
    this.gateway = gateway
  }

  /** Return the id of the signed-in user; throw `unauthorized` if nobody is signed in. */
  async userId() {
    const claims = claimsOf(await this.gateway.token())
    if (claims?.sub) return /** @type {string} */ (claims.sub)
    throw new SmeltError('unauthorized', 'Sign in first: this belongs to a user.', { status: 401 })
  }

  /**
   * Return the newest rows of the user: smelts, their files, notifications, or one batch by its id.
   * @param {string} table
   * @param {Query} query
   * @param {CallOptions} [options]
   * @returns {Promise<any[]>}
   */
  async rows(table, { columns, filters = [], limit = Infinity }, options) {
    const wanted = Object.fromEntries(filters.map(([column, , value]) => [column, `${value}`]))
    if (table === 'smelt_batches') return this.#batch(wanted.id, options)
    const { status, batch_id, created_at, read_at } = wanted
    const search = new URLSearchParams()
    if (created_at) search.set('before', cursorOf(created_at))
    if (table === 'smelt_notifications') {
      if (read_at) search.set('unread', 'true')
      return this.#pages('notifications', search, limit, options)
    }
    if (batch_id) search.set('batch_id', batch_id)
    for (const one of status?.slice(1, -1).split(',') ?? []) search.append('status', one)
    if (columns) return this.#pages('smelts', search, limit, options)
    // Without columns: all rows of one of the two tables, which one list contains.
    const all = await (this.#all ??= this.#pages('smelts', search, limit, options))
    if (table === 'smelts') return all.map(({ user_id, files, ...row }) => row)
    return all.flatMap(({ files }) => files.map((/** @type {any} */ { trust, ...row }) => row))
  }

  async countUnread() {
    return (await this.gateway.request('/api/notifications/unread-count', {})).unread
  }

  /**
   * Set a time of notifications that have none; return how many.
   * @param {'seen_at' | 'read_at'} column
   * @param {readonly string[]} ids
   */
  async markNotifications(column, ids) {
    if (!ids.length) return 0
    const path = `/api/notifications/${column === 'read_at' ? 'read' : 'seen'}`
    return (await this.gateway.request(path, { method: 'POST', body: { ids } })).marked
  }

  /** @param {string} id @param {CallOptions} [options] */
  async #batch(id, options) {
    try {
      return [await this.gateway.request(`/api/batches/${id}`, {}, options)]
    } catch (error) {
      if (error instanceof SmeltError && error.status === 404) return []
      throw error
    }
  }

  /**
   * @param {'smelts' | 'notifications'} name
   * @param {URLSearchParams} search
   * @param {number} limit
   * @param {CallOptions} [options]
   */
  async #pages(name, search, limit, options) {
    const all = []
    for (;;) {
      search.set('limit', `${Math.min(limit - all.length, PAGE)}`)
      const { [name]: page, next } = await this.gateway.request(`/api/${name}?${search}`, {}, options)
      all.push(...page)
      if (!next || all.length >= limit) return all
      search.set('before', next)
    }
  }
}

/** Return the position of a time in a list: before all rows of this time. @param {string} time */
function cursorOf(time) {
  const [, whole, digits = '0'] = /^([\d-]+T[\d:]+)(?:\.(\d{1,6}))?(?:Z|\+00:?00)$/.exec(time) ?? []
  const [seconds, micros] = whole ? [whole, digits] : new Date(time).toISOString().slice(0, -1).split('.')
  return `${seconds}.${micros.padEnd(6, '0')}Z_00000000-0000-0000-0000-000000000000`
}
