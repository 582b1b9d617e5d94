// <smelt-progress>: stage, percentage, remaining time, connection and files of a smelt, and its cancellation and retry.
import { asSmeltError } from '../errors.js'
import { isUnderWay, JobElement } from './base.js'
import { bar, button, clock, fileItem, h, isolated, place, setAttribute, setBar, setText, skeleton } from './dom.js'
import { texts } from './texts.js'

/** @import { FileView, SmeltJob, SmeltView } from '../smelt.d.ts' */
/** @import { SmeltError } from '../errors.js' */
/** @import { ElementState } from './base.js' */

/** Errors of files that another try would repeat; once all files have one, the audio is removed. */
const DAMAGED = ['corrupted_file', 'invalid_format', 'duration_exceeded']

export class SmeltProgressElement extends JobElement {
  #dot = h('span', { part: 'connection', role: 'img' })
  #stage = isolated('stage')
  #percentage = h('span', { part: 'percentage' })
  #bar = bar('total', texts.transcription)
  #details = h('span', { part: 'details' })
  #cancel = button('cancel', texts.cancel, () => this.#change(this.#cancel, (job) => job.cancel()))
  #retry = button('retry', texts.retry, () => this.#change(this.#retry, (job) => job.retry()))
  #error = h('p', { part: 'error', class: 'grow', dir: 'auto', hidden: true })
  #row = h(
    'div',
    { class: 'row' },
    this.#error,
    this.#details,
    h('span', { class: 'row end' }, this.#cancel, this.#retry),
  )
  #skeleton = skeleton(2)
  #files = h('ul', { part: 'files', hidden: true })
  #panel = h(
    'div',
    { part: 'panel', role: 'group', 'aria-label': texts.transcription, tabindex: '-1' },
    h('div', { class: 'row' }, this.#dot, h('span', { class: 'grow' }, this.#stage), this.#percentage),
    this.#bar,
    this.#row,
    this.#skeleton,
    this.#files,
    this.live,
  )
  /** @type {Map<string, ReturnType<typeof fileRow>>} */
  #rows = new Map()
  /** @type {SmeltError | null} */
  #callError = null
  #announced = ''

  constructor() {
    super()
    this.root.append(h('slot'), this.#panel)
  }

  clear() {
    this.#rows.clear()
    this.#files.replaceChildren()
    this.#callError = null
    this.#announced = ''
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  update(view, state) {
    const stage = stageText(view, state)
    const percentage = view?.progress?.percentage ?? null
    const details = detailsText(view)
    const announced = `${state} ${view?.run} ${view?.status}`
    const isNew = announced !== this.#announced
    if (isNew) this.#callError = null
    this.#announced = announced
    setText(this.#stage, stage)
    setText(this.#percentage, state === 'processing' && percentage !== null ? `${Math.round(percentage)}%` : '')
    setText(this.#details, details)
    setBar(this.#bar, percentage, [stage, details].filter(Boolean).join(', '))
    this.#showConnection(view, state)
    this.#showError(view, state)
    this.#skeleton.hidden = !isUnderWay(state) || !!view?.files.length
    this.#showFiles(view, state)
    this.#showButtons(view, state)
    if (isNew && view?.progress) this.announce(stage)
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  #showConnection(view, state) {
    const status = view?.connection.status ?? 'idle'
    const label = status === 'live' || status === 'polling' ? texts[status] : texts.connecting
    this.#dot.hidden = !isUnderWay(state)
    setAttribute(this.#dot, 'data-status', status)
    setAttribute(this.#dot, 'aria-label', label)
    setAttribute(this.#dot, 'title', label)
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  #showError(view, state) {
    const text = this.#callError?.message || (state === 'failed' && view?.error?.message) || ''
    setText(this.#error, text)
    this.#error.hidden = !text
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  #showFiles(view, state) {
    const files = view?.files ?? []
    const error = view?.error?.message
    const rows = files.map((file) => {
      let row = this.#rows.get(file.id)
      if (!row) this.#rows.set(file.id, (row = fileRow(file)))
      row.update(file, state, error)
      return row.element
    })
    place(this.#files, rows)
    this.#files.hidden = !files.length
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  #showButtons(view, state) {
    const focused = this.root.activeElement
    const isReadOnly = this.hasAttribute('readonly')
    const isExpired = this.#callError?.code === 'audio_expired'
    this.#cancel.hidden = !view || !isUnderWay(state) || isReadOnly
    // A failure without an end is one of the watch, such as `not_found`.
    const canRetry = view?.completed_at && state !== 'completed' && !isExpired && !isUnsent(view) && !isDamaged(view)
    this.#retry.hidden = !canRetry || isReadOnly
    this.#row.hidden =
      !this.#details.textContent && [this.#error, this.#cancel, this.#retry].every(({ hidden }) => hidden)
    this.keepFocus(focused, [this.#cancel, this.#retry, this.#panel])
  }

  /**
   * Run the call of a button, which is disabled meanwhile.
   * @param {HTMLButtonElement} clicked
   * @param {(job: SmeltJob) => Promise<unknown>} call
   */
  async #change(clicked, call) {
    const { job } = this
    if (!job || clicked.hasAttribute('aria-disabled')) return
    setAttribute(clicked, 'aria-disabled', 'true') // A disabled button would lose the focus.
    const error = await call(job).then(() => null, asSmeltError)
    setAttribute(clicked, 'aria-disabled', null)
    if (job !== this.job) return
    this.#callError = error
    this.#showError(job.getSnapshot(), this.state)
    this.#showButtons(job.getSnapshot(), this.state)
    if (error) this.announce(error.message)
  }
}

/** @param {FileView} file */
function fileRow(file) {
  const name = isolated('filename')
  const note = h('span', { part: 'note', dir: 'auto' })
  const element = fileItem(name, note)
  const progress = /** @type {HTMLElement} */ (element.lastElementChild)
  /** @param {FileView} file @param {ElementState} state @param {string} [shown] the error of the smelt */
  const update = (file, state, shown) => {
    const { filename = '', status } = file
    const untranscribed = file.trust?.untranscribed_seconds ?? file.untranscribed_seconds ?? 0
    setText(name, filename)
    setAttribute(progress, 'aria-label', filename || texts.transcription)
    setAttribute(element, 'data-status', status)
    setBar(progress, status === 'completed' || state === 'completed' ? 100 : file.progress)
    const doubt = untranscribed >= 1 ? texts.untranscribed(clock(untranscribed)) : ''
    const error = status === 'failed' ? file.error_message || texts.failed : ''
    setText(note, error === shown ? '' : error || doubt)
    note.part.toggle('error', !!error)
  }
  return { element, update }
}

/** @param {SmeltView} view */
const isDamaged = ({ files }) => !!files[0] && files.every(({ error_code }) => DAMAGED.includes(error_code ?? ''))

/** Return true if a smelt has ended before its recordings were submitted. @param {SmeltView} view */
const isUnsent = ({ submitted_at, files }) =>
  submitted_at === null && files.some(({ input_type }) => input_type === 'audio')

/** @param {SmeltView | null} view @param {ElementState} state */
function stageText(view, state) {
  return state === 'waiting' || state === 'processing' || state === 'idle'
    ? (view?.progress?.message ?? texts.starting)
    : texts[state]
}

/** @param {SmeltView | null} view */
function detailsText(view) {
  if (!view) return ''
  if (isUnsent(view)) return texts.unsubmitted
  if (view.completed_at || view.error) return ''
  const { connection, queue_position, eta_seconds } = view
  if (connection.status === 'polling') return texts.polling
  if (view.status === 'pending') return queue_position ? texts.queue(queue_position) : ''
  return texts.remaining(eta_seconds)
}
