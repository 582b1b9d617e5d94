// <smelt-upload>: files that are dropped, chosen or recorded become a smelt. An interrupted upload goes on where it
// ended, and a recording is kept until it is sent or discarded.
import { asSmeltError } from '../errors.js'
import { ClientElement, elements } from './base.js'
import { bar, button, download, fileItem, h, isolated, setAttribute, setBar, setText, sizeOf } from './dom.js'
import { texts } from './texts.js'

/** @import { CreateRequest, SmeltClient, UploadProgress } from '../smelt.d.ts' */
/** @import { Created } from '../contract.d.ts' */
/** @import { Recording } from './recorder.js' */

/**
 * One upload. Another try of it has the same key, so that it continues with the same smelt, unless that was rejected.
 * @typedef {object} Attempt
 * @property {SmeltClient | null} client
 * @property {CreateRequest & { files: readonly File[] }} request
 * @property {Recording | null} recording the one that is the only file
 * @property {AbortController} stop
 * @property {Created | null} created
 */

/** Recordings that were not sent and that no element shows. @type {{ recording: Recording, file: File }[]} */
const unsent = []

/** Return true if this page may request the microphone; browsers allow it with HTTPS and on localhost. */
const canRecord = () => typeof MediaRecorder !== 'undefined' && !!navigator.mediaDevices?.getUserMedia

export class SmeltUploadElement extends ClientElement {
  static observedAttributes = ['accept', 'disabled']
  /** Merged into the request: `prompts`, `mode`, `options`, `metadata`, `batchId`. @type {CreateRequest} */
  request = this.request ?? {}
  /** @type {Attempt | null} */
  #attempt = null
  /** @type {Recording | null} */
  #recording = null

  #input = h('input', { type: 'file', multiple: true, hidden: true, change: () => this.#onChosen() })
  #choose = button('choose', texts.choose, () => this.#input.click())
  #record = button('record', texts.record, () => this.#startRecording())
  #zone = h('div', { part: 'zone' }, h('p', { part: 'hint' }, texts.drop), this.#choose, this.#record, this.#input)
  #recorder = h('div', { class: 'row', hidden: true })
  #files = h('ul', { part: 'files' })
  #total = bar('total', texts.upload)
  #amount = h('span', { part: 'amount' })
  #retry = button('retry', texts.retry, () => this.#upload())
  #save = button('save', texts.download, () => {
    for (const file of this.#attempt?.request.files ?? []) download(file.name, file)
  })
  #cancel = button('cancel', texts.cancel, () => this.cancel())
  #error = h('p', { part: 'error', dir: 'auto', hidden: true })
  #running = h(
    'div',
    { part: 'upload', hidden: true },
    this.#total,
    h('div', { class: 'row' }, this.#amount, h('span', { class: 'row end' }, this.#save, this.#retry, this.#cancel)),
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
    this.#offerUnsent()
  }

  disconnectedCallback() {
    super.disconnectedCallback()
    this.#endRecording('keep')
    this.#leaveUnsent()
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
    if (!this.client) throw new Error('<smelt-upload> has no client.')
    if (!chosen.length || this.disabled || this.hasAttribute('uploading')) return
    this.#replaceAttempt()
    this.#prepare(chosen)
    this.#upload()
  }

  /** Cancel the upload and its smelt. */
  cancel() {
    this.#drop(this.#attempt)
    this.#attempt?.recording?.release()
    this.#attempt = null
    this.#enter(null, texts.cancelled)
    this.#offerUnsent()
  }

  /** @param {readonly File[]} files @param {Recording | null} [recording] */
  #prepare(files, recording = null) {
    const request = { ...this.request, files }
    this.#attempt = { client: null, request, recording, stop: new AbortController(), created: null }
    this.#showFiles(files)
  }

  /** Cancel the smelt of an attempt; another try begins with a new one. @param {Attempt | null} attempt */
  #drop(attempt) {
    if (!attempt) return
    attempt.stop.abort()
    if (attempt.created) attempt.client?.cancel(attempt.created.id).catch(() => {}) // It expires by itself.
    attempt.created = null
    forget(attempt.request)
  }

  /** Make room for another upload: a recording is kept, and all else cancelled. */
  #replaceAttempt() {
    const attempt = this.#attempt
    this.#attempt = null
    if (!keep(attempt)) this.#drop(attempt)
  }

  /** Let the elements in the document show the recordings that were not sent. */
  static #offer() {
    for (const element of elements) if (element instanceof SmeltUploadElement) element.#offerUnsent()
  }

  /** Show a recording that was not sent, unless an upload is shown. */
  #offerUnsent() {
    const kept = this.isConnected && !this.#attempt && !this.#recording && unsent.pop()
    if (!kept) return
    this.#prepare([kept.file], kept.recording)
    this.#enter(null, texts.unsent, texts.unsent)
  }

  /** Leave a recording that was not sent to an element in the document. */
  #leaveUnsent() {
    if (this.isConnected || this.hasAttribute('uploading') || !keep(this.#attempt)) return
    this.#attempt = null
    this.#enter(null)
    SmeltUploadElement.#offer()
  }

  async #upload() {
    const attempt = this.#attempt
    const client = attempt?.client ?? this.client
    if (!attempt || !client) return
    attempt.client = client
    attempt.stop = new AbortController()
    const { signal } = attempt.stop
    this.#showFiles(attempt.request.files)
    this.#enter('uploading', texts.uploading)
    try {
      const { keyOf } = await import('../upload-key.js')
      const job = await client.create({
        ...attempt.request,
        idempotencyKey: keyOf(attempt.request),
        cancelOnAbort: true,
        signal,
        onCreated: (created) => this.#onCreated(attempt, created),
        onUpload: (progress) => this.#onUpload(attempt, progress),
      })
      forget(attempt.request)
      attempt.recording?.release()
      if (attempt === this.#attempt) this.#onSubmitted(job)
    } catch (error) {
      if (attempt === this.#attempt) this.#onFailed(attempt, asSmeltError(error))
    }
  }

  /** @param {Attempt} attempt @param {Created} created */
  #onCreated(attempt, created) {
    const isFirst = !attempt.created
    attempt.created = created
    if (isFirst && attempt === this.#attempt) this.emit('smelt-created', { job: attempt.client?.job(created.id) })
  }

  /** @param {Attempt} attempt @param {UploadProgress} progress */
  #onUpload(attempt, { file_id, loaded, size, totalLoaded, total }) {
    if (attempt !== this.#attempt || !attempt.created) return
    const n = attempt.created.files.findIndex(({ id }) => id === file_id)
    setBar(/** @type {HTMLElement} */ (this.#files.children[n].lastElementChild), percent(loaded, size))
    setBar(this.#total, percent(totalLoaded, total))
    setText(this.#amount, texts.amount(sizeOf(totalLoaded), sizeOf(total)))
  }

  /** @param {import('../smelt.d.ts').SmeltJob} job */
  #onSubmitted(job) {
    this.#attempt = null
    this.#enter(null, texts.uploaded)
    this.emit('smelt-submitted', { job })
    this.#offerUnsent()
  }

  /** @param {Attempt} attempt @param {import('../errors.js').SmeltError} error */
  #onFailed(attempt, error) {
    // A request that was rejected would be rejected again.
    const canRetry = error.transient || !!attempt.created || !!attempt.recording
    if (!error.transient) this.#drop(attempt)
    if (!canRetry) this.#attempt = null
    this.#enter('failed', `${texts.uploadFailed}: ${error.message}`, error.message)
    this.emit('smelt-upload-failed', { error, canRetry })
    this.#leaveUnsent()
    this.#offerUnsent()
  }

  /** @param {'uploading' | 'failed' | null} state @param {string} [announced] @param {string} [error] */
  #enter(state, announced, error) {
    for (const name of ['uploading', 'failed']) setAttribute(this, name, name === state)
    this.#report(announced, error)
  }

  /** @param {string} [announced] @param {string} [error] */
  #report(announced = '', error = '') {
    setText(this.#error, error)
    this.#error.hidden = !error
    this.announce(announced)
    this.#show()
  }

  #show() {
    const focused = this.root.activeElement
    const isUploading = this.hasAttribute('uploading')
    setAttribute(this, 'recording', !!this.#recording)
    setAttribute(this.#input, 'accept', this.accept)
    for (const control of [this.#choose, this.#record]) control.disabled = this.disabled
    const isUnsent = !!this.#attempt?.recording && !isUploading
    this.#zone.hidden = isUploading || isUnsent || !!this.#recording
    this.#record.hidden = !canRecord()
    this.#recorder.hidden = !this.#recording
    this.#running.hidden = !this.#attempt
    this.#retry.hidden = isUploading
    setText(this.#retry, this.hasAttribute('failed') ? texts.retry : texts.upload)
    this.#save.hidden = !isUnsent
    this.keepFocus(focused, [this.#retry, this.#cancel, this.#choose])
  }

  /** @param {readonly File[]} files */
  #showFiles(files) {
    this.#files.replaceChildren(
      ...files.map(({ name, size }) => fileItem(isolated('filename', name), h('span', { part: 'note' }, sizeOf(size)))),
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
    this.#record.disabled = true // A second click would request the microphone again.
    /** @type {Recording} */
    let recording
    try {
      const { Recording } = await import('./recorder.js')
      recording = await Recording.start({
        onStop: () => this.#endRecording('send'),
        onDiscard: () => this.#endRecording('discard'),
      })
    } catch {
      return this.#report(texts.noMicrophone, texts.noMicrophone)
    }
    this.#recording = recording
    if (!this.isConnected) return this.#endRecording('discard')
    recording.ended.then(() => this.#endRecording('keep', recording)) // The microphone was removed.
    this.#recorder.replaceChildren(...recording.controls)
    this.#report(texts.recording)
    recording.stopButton.focus()
  }

  /**
   * End the recording; one that is kept is offered by an element that shows no upload.
   * @param {'send' | 'discard' | 'keep'} use
   */
  async #endRecording(use, recording = this.#recording) {
    if (!recording || recording !== this.#recording) return
    this.#recording = null
    const file = await recording.stop()
    const sends = use === 'send' && !this.hasAttribute('uploading')
    if (sends) this.#replaceAttempt()
    if (use === 'discard') recording.release()
    else unsent.push({ recording, file })
    this.#show()
    this.#offerUnsent()
    if (sends && !this.disabled) this.#upload()
    SmeltUploadElement.#offer()
  }
}

/** @param {number} part @param {number} whole */
const percent = (part, whole) => (whole ? (part / whole) * 100 : 100)

/** Keep the recording of an attempt, so that an element offers it, if there is one. @param {Attempt | null} attempt */
const keep = (attempt) =>
  attempt?.recording && unsent.push({ recording: attempt.recording, file: attempt.request.files[0] })

/** Remove the key of a request from what is saved. @param {CreateRequest} request */
const forget = (request) => import('../upload-key.js').then(({ forgetKey }) => forgetKey(request), () => {})
