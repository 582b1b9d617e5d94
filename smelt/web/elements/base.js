// What the elements share: the client, the watched smelt, states as attributes, and a live region.
import { h, setAttribute, setText } from './dom.js'
import { styleSheet } from './style.js'

/** @import { SmeltClient, SmeltJob, SmeltView } from '../smelt.d.ts' */

/** @typedef {'idle' | 'waiting' | 'processing' | 'completed' | 'partial' | 'failed' | 'cancelled'} ElementState */

/** Properties that may have been set before the element was defined. */
const PROPERTIES = ['client', 'job', 'smeltId']

/** @type {SmeltClient | null} */
let defaultClient = null
/** The elements in a document. @type {Set<ClientElement>} */
export const elements = new Set()

/** Set the client of all elements without one of their own. @param {SmeltClient | null} client */
export function setDefaultClient(client) {
  defaultClient = client
  for (const element of [...elements]) element.clientChanged()
}

// A server has no HTMLElement, and constructs no element.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {})

/** An element with a client, a shadow root and a live region. */
export class ClientElement extends Base {
  /** @type {SmeltClient | null} */
  #client = null

  constructor() {
    super()
    this.root = this.attachShadow({ mode: 'open' })
    this.root.adoptedStyleSheets = [styleSheet()]
    this.live = h('p', { part: 'live', role: 'status' })
  }

  get client() {
    return this.#client ?? defaultClient
  }

  set client(client) {
    this.#client = client
    this.clientChanged()
  }

  connectedCallback() {
    for (const name of PROPERTIES) {
      if (!Object.hasOwn(this, name)) continue
      const self = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this))
      const value = self[name]
      delete self[name]
      self[name] = value
    }
    elements.add(this)
    this.clientChanged()
  }

  disconnectedCallback() {
    elements.delete(this)
  }

  clientChanged() {}

  /** Announce a text to screen readers. @param {string} text */
  announce(text) {
    setText(this.live, text)
  }

  /**
   * If the element that had the focus is hidden now, focus the first of others that is shown.
   * @param {Element | null} focused
   * @param {HTMLElement[]} others
   */
  keepFocus(focused, others) {
    const isShown = (/** @type {Element} */ element) => element.getClientRects().length
    if (focused && !isShown(focused)) others.find(isShown)?.focus()
  }

  /** @param {string} name @param {unknown} detail */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }))
  }
}

/** An element that shows a smelt. */
export class JobElement extends ClientElement {
  static observedAttributes = ['smelt-id', 'playable', 'readonly']
  /** The job that was set as a property. @type {SmeltJob | null} */
  #given = null
  /** @type {SmeltJob | null} */
  #job = null
  #unsubscribe = () => {}
  #isPlanned = false
  /** @type {ElementState} */
  #state = 'idle'

  /** The watched smelt, null without an id or a client. */
  get job() {
    return this.#job
  }

  set job(job) {
    this.#given = job
    if (this.smeltId === (job?.id ?? null)) this.#attach()
    else this.smeltId = job?.id ?? null
  }

  get smeltId() {
    return this.getAttribute('smelt-id')
  }

  set smeltId(id) {
    setAttribute(this, 'smelt-id', id || null)
  }

  /** The state that the attributes show. */
  get state() {
    return this.#state
  }

  attributeChangedCallback() {
    this.#attach()
  }

  clientChanged() {
    this.#attach()
  }

  disconnectedCallback() {
    super.disconnectedCallback()
    this.#attach()
  }

  #attach() {
    const id = this.smeltId?.trim().toLowerCase()
    if (this.#given && this.#given.id !== id) this.#given = null
    const job = this.#given ?? (id ? (this.client?.job(id) ?? null) : null)
    this.#unsubscribe()
    this.#unsubscribe = (this.isConnected && job?.subscribe(() => this.#plan())) || (() => {})
    if (job?.id !== this.#job?.id) this.clear()
    this.#job = job
    this.#plan()
  }

  /** Update once for all changes of a task. */
  #plan() {
    if (this.#isPlanned) return
    this.#isPlanned = true
    queueMicrotask(() => {
      this.#isPlanned = false
      if (this.isConnected) this.#render()
    })
  }

  #render() {
    const view = this.#job?.getSnapshot() ?? null
    const state = this.smeltId ? stateOf(view) : 'idle'
    /** @type {Record<string, boolean>} */
    const attributes = {
      idle: state === 'idle',
      waiting: state === 'waiting',
      processing: isUnderWay(state),
      completed: state === 'completed' || state === 'partial',
      partial: state === 'partial',
      failed: state === 'failed',
      cancelled: state === 'cancelled',
      connected: view?.connection.status === 'live',
    }
    for (const [name, value] of Object.entries(attributes)) setAttribute(this, name, value)
    const hasChanged = state !== this.#state
    this.#state = state
    this.update(view, state)
    if (hasChanged) this.emit('smelt-state', { state, view })
  }

  /** Remove all of an earlier smelt. */
  clear() {}

  /**
   * Show a state; the view is null without a smelt or a client.
   * @param {SmeltView | null} view
   * @param {ElementState} state
   */
  update(view, state) {}
}

/** @param {SmeltView | null} view @returns {ElementState} */
function stateOf(view) {
  if (view?.error) return view.error.code === 'cancelled' ? 'cancelled' : 'failed'
  if (view?.status === 'completed') return view.outcome === 'partial' ? 'partial' : 'completed'
  return view && view.status !== 'pending' ? 'processing' : 'waiting'
}

/** @param {ElementState} state */
export const isUnderWay = (state) => state === 'waiting' || state === 'processing'
