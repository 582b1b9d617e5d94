// The session of the page at the project's Auth, without supabase-js: sign-in, refresh, sign-out.

const KEY = 'smelt-session'
const TIMEOUT_MS = 10_000
const CONFIRM = 'Open the link in the email that was sent to you, then sign in.'
/** A token is refreshed when it is valid for less than this. */
const MARGIN_S = 60

/** An error of Auth, with a sentence for people. */
export class AuthError extends Error {
  /** @param {string} message @param {number} status 0 without a response */
  constructor(message, status) {
    super(message)
    this.name = 'AuthError'
    this.status = status
  }
}

export class Session {
  #listeners = []
  #refreshing = null

  /** @param {{ url: string, key: string }} project */
  constructor({ url, key }) {
    this.url = url
    this.key = key
    addEventListener('storage', ({ key: changed }) => changed === KEY && this.#emit())
  }

  /** The signed-in user `{ id, email, is_anonymous }`, or null. */
  get user() {
    return stored()?.user ?? null
  }

  /** Call a function after each change of the user, also in another tab. */
  onChange(listener) {
    this.#listeners.push(listener)
  }

  /** Return the current token, a fresh one if necessary; null without a session. */
  async token() {
    const session = stored()
    if (!session) return null
    if (session.expires_at - Date.now() / 1000 > MARGIN_S) return session.access_token
    return (this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null)))
  }

  async signIn(email, password) {
    this.#save(await this.#request('POST', '/token?grant_type=password', { email, password }))
  }

  /** Create an account, or give an anonymous user an address; throw if the address must be confirmed first. */
  async signUp(email, password) {
    if (this.user?.is_anonymous) return this.#giveAddress(email, password)
    const session = await this.#request('POST', '/signup', { email, password })
    if (!session.access_token) throw new AuthError(CONFIRM, 200)
    this.#save(session)
  }

  /** The transcriptions of an anonymous user stay its own. */
  async #giveAddress(email, password) {
    const user = await this.#request('PUT', '/user', { email, password }, await this.token())
    if (!user.email) throw new AuthError(CONFIRM, 200)
    this.#save({ ...stored(), user })
  }

  async signInAnonymously() {
    this.#save(await this.#request('POST', '/signup', {}))
  }

  /** End the session here, also if Auth does not respond. */
  async signOut() {
    const token = stored()?.access_token
    this.#remove()
    if (token) await this.#request('POST', '/logout?scope=local', {}, token).catch(() => {})
  }

  async #refresh() {
    const refresh = async () => {
      const session = stored()
      // Another tab may have refreshed it.
      if (!session || session.expires_at - Date.now() / 1000 > MARGIN_S) return session?.access_token ?? null
      try {
        const { refresh_token } = session
        const next = await this.#request('POST', '/token?grant_type=refresh_token', { refresh_token })
        this.#save(next)
        return next.access_token
      } catch (error) {
        if (error.status < 400 || error.status === 429 || error.status >= 500) throw error
        this.#remove()
        return null
      }
    }
    return navigator.locks ? navigator.locks.request(KEY, refresh) : refresh()
  }

  async #request(method, path, body, token = this.key) {
    let response
    try {
      response = await fetch(`${this.url}/auth/v1${path}`, {
        method,
        headers: { apikey: this.key, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        credentials: 'omit',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
    } catch (cause) {
      throw new AuthError('The sign-in service does not respond. Try again.', 0)
    }
    const answer = await response.json().catch(() => ({}))
    if (response.ok) return answer
    const message = answer.msg ?? answer.error_description ?? answer.message ?? 'The sign-in failed.'
    throw new AuthError(message, response.status)
  }

  #save({ access_token, refresh_token, expires_at, expires_in, user: { id, email, is_anonymous } }) {
    const before = JSON.stringify(this.user)
    const session = {
      access_token,
      refresh_token,
      expires_at: expires_at ?? Date.now() / 1000 + expires_in,
      user: { id, email, is_anonymous },
    }
    localStorage.setItem(KEY, JSON.stringify(session))
    if (before !== JSON.stringify(this.user)) this.#emit()
  }

  #remove() {
    localStorage.removeItem(KEY)
    this.#emit()
  }

  #emit() {
    for (const listener of this.#listeners) listener()
  }
}

function stored() {
  try {
    const session = JSON.parse(localStorage.getItem(KEY))
    return session?.access_token && session.user?.id ? session : null
  } catch {
    return null
  }
}
