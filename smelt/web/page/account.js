// What belongs to the signed-in user: the history of smelts, and notifications.

const PAGE = 20
const $ = (id) => document.getElementById(id)

const LABELS = { completed: 'Done', failed: 'Failed', pending: 'Waiting' }

function element(tag, attributes, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

const timeOf = (iso) =>
  element('time', { datetime: iso }, new Date(iso).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }))

const labelOf = ({ status, outcome, error_code }) =>
  error_code === 'cancelled' ? 'Cancelled' : outcome === 'partial' ? 'Partly done' : (LABELS[status] ?? 'Working')

function titleOf(files) {
  const [first, ...others] = [...files].sort((a, b) => a.position - b.position).map(({ filename }) => filename)
  return others.length ? `${first} and ${others.length} more` : (first ?? 'Transcription')
}

export class Account {
  seenState = ''
  #smelts = []
  #limit = PAGE
  #isEnded = false
  #isReading = false
  #isRequested = false
  #unsubscribe = () => {}
  #abort = new AbortController()

  constructor(client, session, { currentId }) {
    this.client = client
    this.session = session
    this.currentId = currentId
    const { signal } = this.#abort
    $('bell').addEventListener('click', () => this.#toggle(), { signal })
    $('more').addEventListener('click', () => this.#showMore(), { signal })
    addEventListener('keydown', ({ key }) => key === 'Escape' && this.closeNotifications(), { signal })
    this.#show()
    this.#showNotifications()
    this.start()
  }

  /** Begin to follow the signed-in user, if there is one. */
  start() {
    if (!this.session.user || this.#isEnded) return
    this.#unsubscribe()
    this.#unsubscribe = this.client.notifications.subscribe(() => this.#onNotifications())
    this.refresh()
  }

  end() {
    this.#isEnded = true
    this.#unsubscribe()
    this.#abort.abort()
    this.closeNotifications()
  }

  /** Read the history; once more if it is being read. */
  async refresh() {
    this.#isRequested = true
    if (this.#isReading || !this.session.user) return
    this.#isReading = true
    try {
      while (this.#isRequested && !this.#isEnded) {
        this.#isRequested = false
        this.#smelts = await this.client.list({ limit: this.#limit })
        if (!this.#isEnded) this.#show() // Another user may have signed in meanwhile.
      }
    } catch {
      // It is read again after the next change.
    } finally {
      this.#isReading = false
    }
  }

  /** Show which smelt is open, and mark its notifications as read. */
  mark(id) {
    for (const link of $('history-list').querySelectorAll('a'))
      if (link.dataset.id === id) link.setAttribute('aria-current', 'page')
      else link.removeAttribute('aria-current')
    this.#markRead(id)
  }

  closeNotifications() {
    $('notifications').hidden = true
    $('bell').setAttribute('aria-expanded', 'false')
  }

  #toggle() {
    const { notifications } = this.client.notifications.getSnapshot()
    const isOpen = $('notifications').hidden
    $('notifications').hidden = !isOpen
    $('bell').setAttribute('aria-expanded', `${isOpen}`)
    const unseen = notifications.filter(({ seen_at }) => !seen_at).map(({ id }) => id)
    if (isOpen && unseen.length) this.client.notifications.seen(unseen).catch(() => {})
  }

  #showMore() {
    this.#limit += PAGE
    this.refresh()
  }

  #onNotifications() {
    if (this.#isEnded) return
    this.#showNotifications()
    this.#markRead(this.currentId())
    const { notifications } = this.client.notifications.getSnapshot()
    if (notifications[0]?.id !== this.newest) this.refresh()
    this.newest = notifications[0]?.id
  }

  #markRead(id) {
    const { notifications } = this.client.notifications.getSnapshot()
    const unread = notifications.filter(({ smelt_id, read_at }) => id && smelt_id === id && !read_at)
    if (unread.length) this.client.notifications.read(unread.map((one) => one.id)).catch(() => {})
  }

  #showNotifications() {
    const { notifications, unreadCount } = this.client.notifications.getSnapshot()
    $('bell').hidden = !this.session.user
    $('unread').textContent = `${unreadCount}`
    $('unread').hidden = !unreadCount
    $('no-notifications').hidden = notifications.length > 0
    $('notification-list').replaceChildren(
      ...notifications.slice(0, PAGE).map(({ smelt_id, title, message, created_at, read_at }) => {
        const text = [
          element('strong', { dir: 'auto' }, title),
          element('span', { dir: 'auto' }, message),
          timeOf(created_at),
        ]
        const item = smelt_id
          ? element('a', { href: `/?id=${encodeURIComponent(smelt_id)}` }, ...text)
          : element('div', {}, ...text)
        return element('li', read_at ? {} : { class: 'unread' }, item)
      }),
    )
  }

  #show() {
    const current = this.currentId()
    $('history').hidden = !this.#smelts.length
    $('more').hidden = this.#smelts.length < this.#limit
    $('history-list').replaceChildren(
      ...this.#smelts.map((smelt) => {
        const link = element(
          'a',
          { href: `/?id=${encodeURIComponent(smelt.id)}`, 'data-id': smelt.id },
          element('bdi', {}, titleOf(smelt.files)),
          element('span', { class: 'muted' }, `${labelOf(smelt)} · `, timeOf(smelt.created_at)),
        )
        if (smelt.id === current) link.setAttribute('aria-current', 'page')
        return element('li', { 'data-state': labelOf(smelt) }, link)
      }),
    )
  }
}
