// <smelt-result>: the results of a smelt as formatted text, to copy or download.
import { isUnderWay, JobElement } from './base.js'
import { button, download, h, isolated, setAttribute, setText, skeleton } from './dom.js'
import { markdown } from './markdown.js'
import { texts } from './texts.js'

/** @import { FileView, SmeltView } from '../smelt.d.ts' */
/** @import { Result } from '../contract.d.ts' */
/** @import { ElementState } from './base.js' */

export class SmeltResultElement extends JobElement {
  #skeleton = skeleton(5)
  #empty = h('p', { part: 'note' }, texts.noResult)
  #body = h('div', { class: 'results' })
  #panel = h(
    'div',
    { part: 'panel', role: 'region', 'aria-label': texts.result },
    this.#skeleton,
    this.#empty,
    this.#body,
    this.live,
  )
  /** @type {readonly Result[] | null} */
  #results = null
  /** @type {readonly FileView[]} */
  #files = []

  constructor() {
    super()
    this.root.append(h('slot'), this.#panel)
  }

  clear() {
    this.#results = null
    this.#body.replaceChildren()
  }

  /** @param {SmeltView | null} view @param {ElementState} state */
  update(view, state) {
    const results = view?.results ?? null
    const underWay = isUnderWay(state)
    setAttribute(this.#panel, 'aria-busy', `${underWay}`)
    this.#skeleton.hidden = !underWay
    this.#empty.hidden = underWay || !!results?.length
    if (!results) this.clear()
    else if (results !== this.#results || view?.files !== this.#files) this.#show(results, view?.files ?? [])
    this.#results = results
    this.#files = view?.files ?? []
  }

  /**
   * Show results and failures in the order of the files.
   * @param {readonly Result[]} results
   * @param {readonly FileView[]} files
   */
  #show(results, files) {
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
      h('div', { part: 'content' }, markdown(content)),
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

/** @param {FileView} file */
const failure = ({ filename = '', error_message }) =>
  h(
    'article',
    { part: 'result' },
    h('h3', {}, isolated('filename', filename)),
    h('p', { part: 'error', dir: 'auto' }, error_message || texts.failed),
  )
