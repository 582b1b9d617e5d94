// Notifications of the signed-in user: stored ones and, live, new ones.
import { UserLive } from './live.js'

/** @import { Account, NotificationsView } from './smelt.d.ts' */
/** @import { Notification } from './contract.d.ts' */
/** @import { SmeltClient } from './client.js' */

const LIVE_READ_MS = 300_000
const SHOWN = 100

/** @extends {UserLive<NotificationsView, Notification>} */
export class Notifications extends UserLive {
  /** @param {SmeltClient} client @param {NotificationsView} view */
  constructor(client, view) {
    super(client, view, LIVE_READ_MS)
    /** @type {Set<string>} the ids that were emitted */
    this.known = new Set()
  }

  /**
   * Return stored notifications, newest first.
   * @param {{ unread?: boolean, limit?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<Notification[]>}
   */
  async list({ unread = false, limit = SHOWN, signal } = {}) {
    const filters = unread ? [/** @type {[string, string, unknown]} */ (['read_at', 'is', null])] : []
    return (await this.client.transport.account()).rows(
      'smelt_notifications',
      { filters, order: 'created_at', limit },
      { signal },
    )
  }

  /** Return the number of notifications that were not opened. */
  async unreadCount() {
    return (await this.client.transport.account()).countUnread()
  }

  /** Mark notifications as shown in a list; return how many were not. @param {readonly string[]} ids */
  seen(ids) {
    return this.#mark('seen_at', ids)
  }

  /** Mark notifications as opened; return how many were not. @param {readonly string[]} ids */
  read(ids) {
    return this.#mark('read_at', ids)
  }

  /**
   * Iterate over unread notifications, oldest first, then over new ones, each once.
   * @param {{ signal?: AbortSignal }} [options]
   */
  watch({ signal } = {}) {
    const unread = () => this.view.notifications.filter(({ read_at }) => !read_at).reverse()
    return this.iterate({ signal, replay: unread })
  }

  async channel() {
    const userId = await this.signedIn()
    const onMessage = (/** @type {string} */ event, /** @type {any} */ payload) => {
      if (event !== 'new_notification' || payload?.user_id !== userId) return
      const unreadCount = this.view.unreadCount + (this.known.has(payload.id) ? 0 : 1)
      if (this.view.isLoaded) this.#merge([payload], unreadCount, this.view.notifications)
      this.requestUpdate()
    }
    return { topic: `smelt-notifications:${userId}`, handlers: { onMessage } }
  }

  clear() {
    this.known.clear()
  }

  /** @param {Account} account */
  loadRows(account) {
    return Promise.all([this.list(), account.countUnread()])
  }

  /** @param {[Notification[], number]} rows */
  mergeRows([listed, count]) {
    // One that arrives between the two is in one of them.
    const unreadCount = Math.max(count, listed.filter(({ read_at }) => !read_at).length)
    this.#merge(listed, unreadCount, listed.length < SHOWN ? [] : this.view.notifications)
  }

  /**
   * Merge notifications, and emit those that are new and unread.
   * @param {readonly Notification[]} listed newest first
   * @param {number} unreadCount
   * @param {readonly Notification[]} others shown after them
   */
  #merge(listed, unreadCount, others) {
    const fresh = listed.filter(({ id, read_at }) => !read_at && !this.known.has(id)).reverse()
    const ids = new Set(listed.map(({ id }) => id))
    const notifications = [...listed, ...others.filter(({ id }) => !ids.has(id))]
    this.update({ notifications: notifications.slice(0, SHOWN), unreadCount, isLoaded: true })
    for (const one of fresh) {
      this.known.add(one.id)
      this.emit(one)
    }
  }

  /** @param {'seen_at' | 'read_at'} column @param {readonly string[]} ids */
  async #mark(column, ids) {
    const count = await (await this.client.transport.account()).markNotifications(column, ids)
    const now = new Date().toISOString()
    const notifications = this.view.notifications.map((one) =>
      ids.includes(one.id) ? { ...one, [column]: one[column] ?? now } : one,
    )
    const unreadCount = Math.max(0, this.view.unreadCount - (column === 'read_at' ? count : 0))
    this.update({ notifications, unreadCount })
    if (this.isObserved) this.requestUpdate() // A read that is under way may be older than this.
    return count
  }
}
