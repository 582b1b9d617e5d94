// <smelt-upload>: files that are dropped, chosen or recorded become a smelt; a failed upload goes on where it ended.
import { asSmeltError } from '../errors.js'
import { ClientElement } from './base.js'
import { bar, button, clock, h, isolated, setAttribute, setBar, setText, sizeOf } from './dom.js'
import { canRecord, Recording } from './recorder.js'
import { texts } from './texts.js'

/** @import { CreateRequest, SmeltClient, UploadProgress } from '../smelt.d.ts' */
/** @import { Created } from '../contract.d.ts' */

/**
 * One upload; another try of it has the same key, so that it continues with the same smelt.
 * @typedef {object} Attempt
 * @property {SmeltClient} client
 * @property {CreateRequest} request
 * @property {AbortController} stop
 * @property {Created | null} created
 */

export class SmeltUploadElement extends ClientElement {
  static observedAttributes = ['accept', 'disabled']
  static properties = ['client', 'request']
  /** Merged into the request: `prompts`, `mode`, `options`, `metadata`, `batchId`. @type {CreateRequest} */
  request = {}
  /** @type {Attempt | null} */
  #attempt = null
  /** @type {Recording | null} */
  #recording = null
  /** @type {Map<string, HTMLElement>} */
  #bars = new Map()

  #input = h('input', { type: 'file', multiple: true, hidden: true, change: () => this.#onChosen() })
  #choose = button('choose', texts.choose, () => this.#input.click())
  #record = button('record', texts.record, () => this.#startRecording())
  #zone = h('div', { part: 'zone' }, h('p', { part: 'hint' }, texts.drop), this.#choose, this.#record, this.#input)
  #time = h('span', { part: 'recording-time', role: 'timer' })
  #stop = button('stop', texts.stop, () => this.#endRecording(true))
  #recorder = h(
    'div',
    { class: 'row', hidden: true },
    h('span', { part: 'recording-dot' }),
    h('span', {}, texts.recording),
    this.#time,
    h(
      'span',
      { class: 'row end' },
      this.#stop,
      button('discard', texts.discard, () => this.#endRecording(false)),
    ),
  )
  #files = h('ul', { part: 'files' })
  #total = bar('total', texts.upload)
  #amount = h('span', { part: 'amount' })
  #retry = button('retry', texts.retry, () => this.#upload())
  #cancel = button('cancel', texts.cancel, () => this.cancel())
  #error = h('p', { part: 'error', dir: 'auto', hidden: true })
  #running = h(
    'div',
    { part: 'upload', hidden: true },
    this.#total,
    h('div', { class: 'row' }, this.#amount, h('span', { class: 'row end' }, this.#retry, this.#cancel)),
    this.#files,
  )

  constructor() {
    super()
    const panel = { part: 'panel', role: 'group', 'aria-label': texts.upload, tabindex: '-1' }
    this.root.append(h('div', panel, this.#zone, this.#recorder, this.#error, this.#running, this.live))
    for (const name of ['dragenter', 'dragover', 'dragleave', 'drop'])
      this.addEventListener(name, (event) => this.#onDrag(/** @type {DragEvent} */ (event)))
  }

  connectedCallback() {
    super.connectedCallback()
    this.#show()
  }

  disconnectedCallback() {
    super.disconnectedCallback()
    this.#endRecording(false)
  }

  attributeChangedCallback() {
    this.#show()
  }

  get disabled() {
    return this.hasAttribute('disabled')
  }

  set disabled(disabled) {
    setAttribute(this, 'disabled', disabled)
  }

  get accept() {
    return this.getAttribute('accept') ?? 'audio/*,video/*'
  }

  set accept(accept) {
    setAttribute(this, 'accept', accept)
  }

  /** Upload files as one smelt, unless an upload is running. @param {Iterable<File>} files */
  upload(files) {
    const chosen = [...files]
    const { client } = this
    if (!client) throw new Error('<smelt-upload> has no client: call setDefaultClient(connectSmelt({ supabase })).')
    if (!chosen.length || this.disabled || this.hasAttribute('uploading')) return
    this.#forget()
    const request = { idempotencyKey: randomKey(), ...this.request, files: chosen }
    this.#attempt = { client, request, stop: new AbortController(), created: null }
    this.#upload()
  }

  /** Cancel the upload and its smelt. */
  cancel() {
    this.#forget()
    setAttribute(this, 'failed', false)
    setAttribute(this, 'uploading', false)
    this.#showError('')
    this.announce(texts.cancelled)
    this.#show()
    this.#choose.focus()
  }

  #forget() {
    const attempt = this.#attempt
    this.#attempt = null
    attempt?.stop.abort()
    if (attempt?.created) attempt.client.cancel(attempt.created.id).catch(() => {}) // It expires by itself.
  }

  async #upload() {
    const attempt = this.#attempt
    if (!attempt) return
    attempt.stop = new AbortController()
    const hasFocus = !!this.root.activeElement
    this.#showFiles(attempt)
    setAttribute(this, 'failed', false)
    setAttribute(this, 'uploading', true)
    this.#showError('')
    this.announce(texts.uploading)
    this.#show()
    if (hasFocus) this.#cancel.focus()
    try {
      const job = await attempt.client.create({
        ...attempt.request,
        signal: attempt.stop.signal,
        onCreated: (created) => this.#onCreated(attempt, created),
        onUpload: (progress) => this.#onUpload(attempt, progress),
      })
      if (attempt === this.#attempt) this.#onSubmitted(job)
    } catch (error) {
      if (attempt === this.#attempt) this.#onFailed(asSmeltError(error))
      else if (attempt.created) attempt.client.cancel(attempt.created.id).catch(() => {})
    }
  }

  /** @param {Attempt} attempt @param {Created} created */
  #onCreated(attempt, created) {
    const isFirst = !attempt.created
    attempt.created = created
    for (const [n, { id }] of created.files.entries()) this.#bars.set(id, this.#barAt(n))
    if (isFirst && attempt === this.#attempt) this.emit('smelt-created', { job: attempt.client.job(created.id) })
  }

  /** @param {number} n */
  #barAt(n) {
    return /** @type {HTMLElement} */ (this.#files.children[n].lastElementChild)
  }

  /** @param {Attempt} attempt @param {UploadProgress} progress */
  #onUpload(attempt, { file_id, loaded, size, totalLoaded, total }) {
    if (attempt !== this.#attempt) return
    const file = this.#bars.get(file_id)
    if (file) setBar(file, percent(loaded, size))
    setBar(this.#total, percent(totalLoaded, total))
    setText(this.#amount, texts.amount(sizeOf(totalLoaded), sizeOf(total)))
  }

  /** @param {import('../smelt.d.ts').SmeltJob} job */
  #onSubmitted(job) {
    const hasFocus = !!this.root.activeElement
    this.#attempt = null
    setAttribute(this, 'uploading', false)
    this.announce(texts.uploaded)
    this.#show()
    if (hasFocus) this.#choose.focus()
    this.emit('smelt-submitted', { job })
  }

  /** @param {import('../errors.js').SmeltError} error */
  #onFailed(error) {
    // A request that was rejected would be rejected again.
    const canRetry = error.transient || !!this.#attempt?.created
    const hasFocus = !!this.root.activeElement
    if (!canRetry) this.#attempt = null
    setAttribute(this, 'uploading', false)
    setAttribute(this, 'failed', true)
    this.#showError(error.message)
    this.announce(`${texts.uploadFailed}: ${error.message}`)
    this.#show()
    if (hasFocus) (canRetry ? this.#retry : this.#choose).focus()
    this.emit('smelt-upload-failed', { error, canRetry })
  }

  #show() {
    const isUploading = this.hasAttribute('uploading')
    setAttribute(this, 'recording', !!this.#recording)
    setAttribute(this.#input, 'accept', this.accept)
    for (const control of [this.#choose, this.#record]) control.disabled = this.disabled
    this.#zone.hidden = isUploading || !!this.#recording
    this.#record.hidden = !canRecord()
    this.#recorder.hidden = !this.#recording
    this.#running.hidden = !this.#attempt
    this.#retry.hidden = isUploading
  }

  /** @param {string} text */
  #showError(text) {
    setText(this.#error, text)
    this.#error.hidden = !text
  }

  /** @param {Attempt} attempt */
  #showFiles({ request }) {
    const files = /** @type {File[]} */ (request.files ?? [])
    this.#files.replaceChildren(
      ...files.map(({ name, size }) =>
        h(
          'li',
          { part: 'file' },
          h('div', { class: 'row' }, isolated('filename', name), h('span', { part: 'note' }, sizeOf(size))),
          bar('file-bar', name),
        ),
      ),
    )
    setBar(this.#total, 0)
    setText(this.#amount, '')
  }

  #onChosen() {
    const files = [...(this.#input.files ?? [])]
    this.#input.value = '' // The same file may be chosen again.
    this.upload(files)
  }

  /** @param {DragEvent} event */
  #onDrag(event) {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    const isInside = event.relatedTarget instanceof Node && this.contains(event.relatedTarget)
    const canDrop = !this.disabled && !this.#zone.hidden
    setAttribute(this, 'dragging', canDrop && event.type !== 'drop' && (event.type !== 'dragleave' || isInside))
    if (event.type === 'drop' && canDrop) this.upload(event.dataTransfer.files)
  }

  async #startRecording() {
    this.#record.disabled = true // A second click would ask for the microphone again.
    try {
      this.#recording = await Recording.start((seconds) => setText(this.#time, clock(seconds)))
    } catch {
      this.#showError(texts.noMicrophone)
      this.announce(texts.noMicrophone)
      this.#show()
      return
    }
    if (!this.isConnected) return this.#endRecording(false)
    this.#showError('')
    setText(this.#time, clock(0))
    this.announce(texts.recording)
    this.#show()
    this.#stop.focus()
  }

  /** @param {boolean} sends */
  async #endRecording(sends) {
    const recording = this.#recording
    if (!recording) return
    this.#recording = null
    const file = await recording.stop()
    this.#show()
    if (sends) this.upload([file])
    else this.#choose.focus()
  }
}

/** @param {number} part @param {number} whole */
const percent = (part, whole) => (whole ? (part / whole) * 100 : 100)

/** Return a key of 32 random hexadecimal digits. */
const randomKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
