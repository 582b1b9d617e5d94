// <smelt-result>: the outputs of a smelt as they are written, then its results to copy or download, as formatted text.
import { isUnderWay, JobElement } from './base.js'
import { button, download, h, isolated, place, setAttribute, setText, skeleton } from './dom.js'
import { texts } from './texts.js'

/** @import { FileView, SmeltView } from '../smelt.d.ts' */
/** @import { Output, Result } from '../contract.d.ts' */
/** @import { ElementState } from './base.js' */

export class SmeltResultElement extends JobElement {
  #skeleton = skeleton(3)
  #empty = h('p', { part: 'note' }, texts.noResult)
  #body = h('div', { class: 'results' })
  #panel = h(
    'div',
    { part: 'panel', role: 'region', 'aria-label': texts.result },
    this.#empty,
    this.#body,
    this.#skeleton,
  )
  /** @type {readonly Result[] | null} */
  #results = null
  /** @type {readonly FileView[]} */
  #files = []
  /** @type {Map<string, Draft>} */
  #drafts = new Map()

  constructor() {
    super()
    // Screen readers announce nothing within what is busy.
    this.root.append(h('slot'), this.#panel, this.live)
    format(h('div'), '') // Load the module before there is a text.
  }

  clear() {
    this.#results = null
    this.#drafts.clear()
    this.announce('')
    this.#body.replaceChildren()
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  update(view, state) {
    const { results = null, outputs = [], files = [] } = view ?? {}
    const underWay = isUnderWay(state)
    setAttribute(this.#panel, 'aria-busy', `${underWay && !outputs.length}`)
    this.#skeleton.hidden = !underWay
    this.#empty.hidden = underWay || !!results?.length
    if (!results) this.#write(outputs, files)
    else if (results !== this.#results || files !== this.#files) this.#show(results, files)
    this.#results = results
    this.#files = files
  }

  /**
   * Show outputs in the order of their files, and announce those that have become complete.
   * @param {readonly Output[]} outputs
   * @param {readonly FileView[]} files
   */
  #write(outputs, files) {
    if (!outputs.length || this.#results) this.clear()
    const isFirst = !this.#drafts.size
    const drafts = files.flatMap(({ id, filename = '' }) => {
      const ofFile = outputs.filter(({ file_id }) => file_id === id)
      let draft = this.#drafts.get(id)
      this.#drafts.delete(id)
      if (!ofFile.length) return []
      this.#drafts.set(id, (draft ??= new Draft()))
      const written = draft.update(filename, ofFile)
      if (written && !isFirst) this.announce(texts.written(written))
      return draft.element
    })
    place(this.#body, drafts)
  }

  /**
   * Show results and failures in the order of the files.
   * @param {readonly Result[]} results
   * @param {readonly FileView[]} files
   */
  #show(results, files) {
    this.#drafts.clear()
    const ofFiles = files.flatMap((file) => {
      const result = results.find(({ file_id }) => file_id === file.id)
      return result ? this.#section(result) : file.status === 'failed' ? failure(file) : []
    })
    const combined = results.filter(({ file_id }) => !files.some(({ id }) => id === file_id))
    this.#body.replaceChildren(...combined.map((result) => this.#section(result)), ...ofFiles)
  }

  /** @param {Result} result */
  #section({ filename, content }) {
    const copy = button('copy', texts.copy, () => this.#copy(copy, content), { hidden: !navigator.clipboard })
    const name = `${filename.replace(/\.[^.]{1,5}$/, '')}.md`
    const body = h('div', { part: 'content' })
    format(body, content)
    const save = () => download(name, new Blob([content], { type: 'text/markdown;charset=utf-8' }))
    return h(
      'article',
      { part: 'result' },
      h(
        'div',
        { class: 'row' },
        h('h3', { class: 'grow' }, isolated('filename', filename)),
        h('span', { class: 'row' }, copy, button('download', texts.download, save)),
      ),
      body,
    )
  }

  /** @param {HTMLButtonElement} clicked @param {string} content */
  async #copy(clicked, content) {
    await navigator.clipboard.writeText(content)
    setText(clicked, texts.copied)
    this.announce(texts.copied)
    setTimeout(() => {
      setText(clicked, texts.copy)
      this.announce('')
    }, 2000)
  }
}

/** The outputs of a file that are complete or being written. */
class Draft {
  #name = isolated('filename')
  #sections = h('div', { class: 'results' })
  element = h('article', { part: 'result' }, h('h3', {}, this.#name), this.#sections)
  /** @type {Map<number, ReturnType<typeof sectionOf>>} */
  #shown = new Map()

  /**
   * Show outputs; return the title of the last one that has become complete.
   * @param {string} filename
   * @param {readonly Output[]} outputs
   */
  update(filename, outputs) {
    setText(this.#name, filename)
    const shown = outputs.map((output) => this.#shown.get(output.position) ?? sectionOf(output))
    this.#shown = new Map(outputs.map(({ position }, n) => [position, shown[n]]))
    place(
      this.#sections,
      shown.map(({ element }) => element),
    )
    return outputs.filter((output, n) => shown[n].update(output)).at(-1)?.title
  }
}

/** @param {Output} output */
function sectionOf({ title }) {
  const body = h('div', { part: 'content' })
  const element = h('section', { part: 'output' }, h('h4', { dir: 'auto' }, title), body)
  /** @type {string | null} */
  let shown = null
  let isComplete = false
  /** Show the text so far; return true if the output has become complete. @param {Output} output */
  const update = ({ content, is_complete }) => {
    const isNew = is_complete && !isComplete
    isComplete = is_complete
    setAttribute(element, 'aria-busy', `${!is_complete}`)
    // A text that did not fit into the event is that of the last one, or will be read.
    if (content !== null && content !== shown) format(body, (shown = content))
    return isNew
  }
  return { element, update }
}

/**
 * Show a Markdown text; it is not formatted until the module is loaded.
 * @param {HTMLElement} element
 * @param {string} source
 */
function format(element, source) {
  element.textContent = source
  import('./markdown.js').then(({ markdown }) => element.replaceChildren(...markdown(source)), () => {})
}

/** @param {FileView} file */
const failure = ({ filename = '', error_message }) =>
  h(
    'article',
    { part: 'result' },
    h('h3', {}, isolated('filename', filename)),
    h('p', { part: 'error', dir: 'auto' }, error_message || texts.failed),
  )
