// <smelt-transcript>: the lines of each file as they arrive, in the order of the files, with a search.
import { isUnderWay, JobElement } from './base.js'
import { button, clock, h, isolated, place, setAttribute, setText, skeleton } from './dom.js'
import { texts } from './texts.js'

/** @import { FileView, SmeltView } from '../smelt.d.ts' */
/** @import { Segment, Trust } from '../contract.d.ts' */
/** @import { ElementState } from './base.js' */
/** @typedef {Segment & { readonly speaker?: string | null }} Spoken */

/** Pixels from the end within which the view still follows it. */
const END_PX = 24
/** Chromium takes quadratic time for the direction of a line with many nodes. */
const MAX_MARKS_PER_LINE = 100

export class SmeltTranscriptElement extends JobElement {
  #search = h('input', {
    type: 'search',
    part: 'search',
    placeholder: texts.search,
    'aria-label': texts.search,
    autocomplete: 'off',
    input: () => this.#find(),
    keydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
  })
  #count = h('span', { part: 'matches', role: 'status' })
  #previous = button('previous', '↑', () => this.#step(-1), { 'aria-label': texts.previous, hidden: true })
  #next = button('next', '↓', () => this.#step(1), { 'aria-label': texts.next, hidden: true })
  #lines = h('div', {
    part: 'lines',
    role: 'region',
    'aria-label': texts.transcript,
    tabindex: '0',
    scroll: () => this.#onScroll(),
  })
  #placeholder = h('div', {}, skeleton(3))
  #empty = h('p', { part: 'note', hidden: true })
  #follow = button('follow', texts.follow, () => this.#resume(), { hidden: true })
  #panel = h(
    'div',
    { part: 'panel' },
    h(
      'div',
      { class: 'row', part: 'toolbar', role: 'search' },
      h('span', { class: 'grow' }, this.#search),
      this.#count,
      this.#previous,
      this.#next,
    ),
    this.#placeholder,
    this.#empty,
    this.#lines,
    this.#follow,
  )
  /** @type {Map<string, Transcript>} */
  #transcripts = new Map()
  /** @type {HTMLElement[]} */
  #matches = []
  #current = 0
  #isFollowing = true
  #run = ''

  constructor() {
    super()
    this.root.append(h('slot'), this.#panel)
    new ResizeObserver(() => this.#isFollowing && isUnderWay(this.state) && this.#toEnd()).observe(this.#lines)
  }

  clear() {
    this.#transcripts.clear()
    this.#lines.replaceChildren()
    this.#isFollowing = true
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  update(view, state) {
    const isPlayable = this.hasAttribute('playable')
    const run = `${view?.run} ${isPlayable}`
    if (run !== this.#run) this.clear()
    this.#run = run
    const files = view?.files.filter(({ input_type }) => input_type !== 'text') ?? []
    const query = pattern(this.#search.value)
    let hasNew = false
    const sections = files.map((file) => {
      let transcript = this.#transcripts.get(file.id)
      if (!transcript) this.#transcripts.set(file.id, (transcript = new Transcript(isPlayable ? this : null)))
      hasNew = transcript.update(file, view?.segments[file.id] ?? [], state, query) || hasNew
      return transcript.element
    })
    place(this.#lines, sections)
    const underWay = isUnderWay(state)
    this.#lines.hidden = !files.length
    setAttribute(this.#lines, 'aria-busy', `${underWay}`)
    this.#placeholder.hidden = !underWay || !!files.length
    setText(this.#empty, texts.noTranscript)
    this.#empty.hidden = underWay || !!files.length
    if (hasNew && query) this.#collect()
    if (underWay && this.#isFollowing) this.#toEnd()
    this.#follow.hidden = !underWay || this.#isFollowing || this.#end() === 0
  }

  /** Return the scroll position at which the last line is the lowest. */
  #end() {
    const last = [...this.#transcripts.values()].findLast(({ lines }) => lines.length)?.lines.at(-1)?.element
    return last ? Math.max(0, last.offsetTop + last.offsetHeight - this.#lines.clientHeight) : 0
  }

  #toEnd() {
    if (this.#lines.scrollTop < this.#end()) this.#lines.scrollTop = this.#end()
  }

  #onScroll() {
    this.#isFollowing = !this.#matches.length && this.#lines.scrollTop >= this.#end() - END_PX
    this.#follow.hidden = !isUnderWay(this.state) || this.#isFollowing
  }

  #resume() {
    this.#isFollowing = true
    this.#toEnd()
    this.#follow.hidden = true
    this.#lines.focus()
  }

  #find() {
    const query = pattern(this.#search.value)
    for (const { lines } of this.#transcripts.values()) for (const line of lines) line.mark(query)
    this.#current = 0
    this.#collect()
    if (this.#matches.length) this.#step(0)
  }

  #collect() {
    this.#matches = [...this.#lines.querySelectorAll('mark')]
    const count = this.#matches.length
    this.#current = Math.min(this.#current, Math.max(0, count - 1))
    setText(this.#count, count ? texts.matches(this.#current + 1, count) : this.#search.value ? texts.noMatch : '')
    for (const step of [this.#previous, this.#next]) step.hidden = !count
  }

  /** Show another match. @param {number} by */
  #step(by) {
    const count = this.#matches.length
    if (!count) return
    this.#isFollowing = false
    this.#matches[this.#current]?.removeAttribute('aria-current')
    this.#current = (this.#current + by + count) % count
    const match = this.#matches[this.#current]
    match.setAttribute('aria-current', 'true')
    match.scrollIntoView({ block: 'nearest' })
    setText(this.#count, texts.matches(this.#current + 1, count))
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === 'Enter') this.#step(event.shiftKey ? -1 : 1)
    else if (event.key !== 'Escape' || !this.#search.value) return
    else {
      this.#search.value = ''
      this.#find()
    }
    event.preventDefault()
  }
}

/** The transcript of one file. */
class Transcript {
  /** @type {ReturnType<typeof lineOf>[]} */
  lines = []
  #name = isolated('filename')
  #body = h('div', { part: 'transcript', keydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event) })
  #skeleton = skeleton(3)
  #note = h('p', { part: 'note', dir: 'auto', hidden: true })
  element = h('section', {}, h('h3', {}, this.#name), this.#body, this.#skeleton, this.#note)
  /** @type {Trust | null} */
  #trust = null

  /** @param {SmeltTranscriptElement | null} player dispatches the events of times that are buttons */
  constructor(player) {
    this.player = player
  }

  /**
   * Show a file; return true if lines were added. Segments that are other objects have new names of speakers.
   * @param {FileView} file
   * @param {readonly Spoken[]} segments
   * @param {ElementState} state
   * @param {RegExp | null} query
   */
  update(file, segments, state, query) {
    setText(this.#name, file.filename ?? '')
    if (this.lines[0]?.segment !== segments[0]) {
      this.lines = []
      this.#body.replaceChildren()
    }
    const before = this.lines.length
    for (const segment of segments.slice(before)) {
      const line = lineOf(segment, this.#timeOf(segment.start, file.id))
      if (query) line.mark(query)
      this.lines.push(line)
      this.#body.append(line.element)
    }
    const hasNew = this.lines.length > before
    const trust = file.trust ?? null
    if (hasNew || trust !== this.#trust) this.#showDoubts(trust)
    this.#trust = trust
    const isEnded = !isUnderWay(state) || file.status === 'completed' || file.status === 'failed'
    const note = file.status === 'failed' ? file.error_message || texts.failed : (trust?.notice ?? '')
    const isMissing = isEnded && !this.lines.length
    setText(this.#note, note || (isMissing ? (state === 'completed' ? texts.noSpeech : texts.noTranscript) : ''))
    this.#note.hidden = !this.#note.textContent
    this.#note.part.toggle('error', file.status === 'failed')
    this.#skeleton.hidden = isEnded || !!this.lines.length
    return hasNew
  }

  /**
   * Return the time of a new line; of those that are buttons, the first of a file is in the order of tabs.
   * @param {number} start
   * @param {string} file_id
   */
  #timeOf(start, file_id) {
    if (!this.player) return h('span', { part: 'time' }, clock(start))
    const click = () => this.player?.emit('smelt-seek', { file_id, start })
    return h('button', { type: 'button', part: 'time', tabindex: this.lines.length ? -1 : 0, click }, clock(start))
  }

  /** Move the focus to the next or the previous time. @param {KeyboardEvent} event */
  #onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    const focused = this.lines.findIndex(({ time }) => time.matches(':focus'))
    const next = step && focused >= 0 && this.lines[focused + step]?.time
    if (!next) return
    event.preventDefault()
    this.lines[focused].time.tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }

  /** @param {Trust | null} trust */
  #showDoubts(trust) {
    const doubtful = new Set([...(trust?.low_confidence_segments ?? []), ...(trust?.repeated_segments ?? [])])
    for (const { segment, doubt } of this.lines) doubt(doubtful.has(segment.index))
  }
}

/** @param {Spoken} segment @param {HTMLElement} time */
function lineOf(segment, time) {
  const text = isolated('text', segment.text)
  const speaker = segment.speaker && isolated('speaker', `${segment.speaker}:`)
  const content = h('span', {}, speaker, text)
  const element = h('p', { part: 'line' }, time, content)
  const mark = (/** @type {RegExp | null} */ query) => text.replaceChildren(...marked(segment.text, query))
  const doubt = (/** @type {boolean} */ isDoubtful) => {
    if (element.part.contains('doubtful') === isDoubtful) return
    element.part.toggle('doubtful', isDoubtful)
    if (isDoubtful) content.append(h('span', { part: 'doubt' }, ` (${texts.unsure})`))
    else content.lastChild?.remove()
  }
  return { element, segment, time, mark, doubt }
}

/** @param {string} query @returns {RegExp | null} */
function pattern(query) {
  const words = query.trim().replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
  return words ? new RegExp(words.replace(/\s+/g, '\\s+'), 'giu') : null
}

/**
 * Return a text with its matches in `mark` elements.
 * @param {string} text
 * @param {RegExp | null} query
 * @returns {(string | HTMLElement)[]}
 */
function marked(text, query) {
  if (!query) return [text]
  const nodes = []
  let reached = 0
  for (const { 0: match, index } of text.matchAll(query)) {
    nodes.push(text.slice(reached, index), h('mark', {}, match))
    reached = index + match.length
    if (nodes.length >= 2 * MAX_MARKS_PER_LINE) break
  }
  return [...nodes, text.slice(reached)]
}
