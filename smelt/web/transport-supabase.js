// The transport over supabase-js: calls, uploads and private Realtime channels.
import { errorOfResponse } from './errors.js'
import { CALL_TIMEOUT_MS, imported, joinedLater, within } from './polling.js'

/** @import { SupabaseClient } from '@supabase/supabase-js' */
/** @import { CallOptions, Joined, JoinHandlers, Transport } from './smelt.d.ts' */

/** @implements {Transport} */
export class SupabaseTransport {
  /** @type {Map<string, Promise<unknown>>} */
  #leaving = new Map()

  /** @param {SupabaseClient<any, any, any>} supabase */
  constructor(supabase) {
    this.supabase = supabase
  }

  /**
   * Call a SQL function; arguments that are undefined take their defaults.
   * @param {string} name
   * @param {Record<string, unknown>} args
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async call(name, args, options) {
    return (await responseTo(this.supabase.rpc(name, args), options)).data
  }

  /** Call a function when another user has signed in, or none is any longer. @param {() => void} listener */
  onUserChange(listener) {
    /** @type {string | undefined} */
    let user
    try {
      this.supabase.auth.onAuthStateChange((_, session) => {
        const next = session?.user.id ?? ''
        if (user !== undefined && user !== next) listener()
        user = next
      })
    } catch {} // An app that passes `accessToken` has no such events; the feed compares the user at each read.
  }

  /** Return what belongs to the signed-in user. */
  async account() {
    return new (await imported(import('./account-supabase.js'))).SupabaseAccount(this.supabase)
  }

  /**
   * Upload a file to an announced path.
   * @param {string} path
   * @param {Blob} file
   * @param {{ onProgress?: (loaded: number) => void, signal?: AbortSignal, mayExist?: boolean }} options
   */
  async upload(path, file, options) {
    const { uploadObject } = await imported(import('./upload.js'))
    await uploadObject(this.supabase, path, file, options)
  }

  /**
   * Join a private channel, again after each loss until `leave` is called.
   * @param {string} topic
   * @param {JoinHandlers} handlers
   * @returns {Joined}
   */
  join(topic, handlers) {
    return joinedLater(
      () => imported(import('./private-channel.js')),
      ({ PrivateChannel }) => new PrivateChannel(this.supabase, topic, handlers, this.#leaving),
      handlers,
    )
  }
}

/**
 * Return a response; throw its error, or after `timeoutMs`, 30 s if it is not given, `connection_lost`.
 * @param {any} request
 * @param {CallOptions} [options]
 * @returns {Promise<{ data: any, count: number | null }>}
 */
export async function responseTo(request, { signal, timeoutMs = CALL_TIMEOUT_MS } = {}) {
  const response = await within((limit) => request.abortSignal(limit), signal, timeoutMs)
  if (response.error) throw errorOfResponse(response.error, response.status)
  return response
}
