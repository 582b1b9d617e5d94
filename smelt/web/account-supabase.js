// The rows of the signed-in user over supabase-js.
import { SmeltError } from './errors.js'
import { authorize } from './private-channel.js'
import { responseTo } from './transport-supabase.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */
/** @import { Account, CallOptions, Query } from './smelt.d.ts' */

const PAGE = 1000

/** @implements {Account} */
export class SupabaseAccount {
  /** @param {SupabaseClient<any, any, any>} supabase */
  constructor(supabase) {
    this.supabase = supabase
  }

  /**
   * Return the rows of a table that the user may read.
   * @param {string} table
   * @param {Query} query
   * @param {CallOptions} [options]
   * @returns {Promise<any[]>}
   */
  async rows(table, { columns = '*', filters = [], order, ascending = false, limit = Infinity }, options) {
    /** @type {any[]} */
    const all = []
    while (all.length < limit) {
      // Paginated by key, not by offset, so that concurrent inserts and deletes do not skip or repeat rows.
      let request = this.supabase.from(table).select(columns)
      for (const [column, operator, value] of filters) request = request.filter(column, operator, value)
      const last = all.at(-1)
      if (last && !order) request = request.gt('id', last.id)
      if (last && order) {
        const value = JSON.stringify(last[order])
        const after = `${order}.${ascending ? 'gt' : 'lt'}.${value}`
        request = request.or(`${after},and(${order}.eq.${value},id.gt.${last.id})`)
      }
      if (order) request = request.order(order, { ascending })
      const count = Math.min(limit - all.length, PAGE)
      const { data } = await responseTo(request.order('id').limit(count), options)
      // A project may limit responses to fewer rows than requested; only an empty page is the last one.
      if (!data.length) break
      all.push(...data)
    }
    return all
  }

  async countUnread() {
    const request = this.supabase.from('smelt_notifications').select('id', { count: 'exact', head: true })
    return (await responseTo(request.is('read_at', null))).count ?? 0
  }

  /**
   * Set a time of notifications that have none.
   * @param {'seen_at' | 'read_at'} column
   * @param {readonly string[]} ids
   */
  async markNotifications(column, ids) {
    // Postgres evaluates 'now' by the server's clock.
    const request = this.supabase
      .from('smelt_notifications')
      .update({ [column]: 'now' })
      .in('id', [...ids])
      .is(column, null)
    return (await responseTo(request.select('id'))).data.length
  }

  /** Return the id of the signed-in user; throw `unauthorized` if nobody is signed in. */
  async userId() {
    await authorize(this.supabase)
    const claims = claimsOf(this.supabase.realtime.accessTokenValue)
    if (claims?.sub) return /** @type {string} */ (claims.sub)
    throw new SmeltError('unauthorized', 'Sign in first: this belongs to a user.', { status: 401 })
  }
}

/**
 * @param {string | null} token
 * @returns {Record<string, unknown> | null}
 */
export function claimsOf(token) {
  try {
    return JSON.parse(atob((token ?? '').split('.')[1].replaceAll('-', '+').replaceAll('_', '/')))
  } catch {
    return null
  }
}
