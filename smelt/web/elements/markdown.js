// Markdown as elements whose contents are text nodes: markup is shown as text; links lead to web pages and mail only.
import { h } from './dom.js'
import { texts } from './texts.js'

const MAX_DEPTH = 8
const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})/
const HEADING = /^ {0,3}(#{1,6})\s(.*)/
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/
const QUOTE = /^ {0,3}> ?/
const ITEM = /^( *)(?:([-*+])|(\d{1,9})[.)])(?:\s+|$)/
const DELIMITER_ROW = /^\s*\|?(?:\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$/
const TASK = /^\[([ xX])\]\s/

/**
 * Return the blocks of a Markdown text.
 * @param {string} source
 * @returns {HTMLElement[]}
 */
export const markdown = (source) => blocks(source.replace(/\r\n?/g, '\n').replaceAll('\t', '    ').split('\n'), 0)

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {HTMLElement[]}
 */
function blocks(lines, depth) {
  /** @type {HTMLElement[]} */
  const result = []
  for (let n = 0; n < lines.length;) {
    if (!lines[n].trim()) {
      n += 1
      continue
    }
    const [block, length] = blockAt(lines, n, depth)
    result.push(block)
    n += length
  }
  return result
}

/**
 * Return the block that begins in a line, and the number of its lines.
 * @param {string[]} lines
 * @param {number} start
 * @param {number} depth
 * @returns {[HTMLElement, number]}
 */
function blockAt(lines, start, depth) {
  const line = lines[start]
  const heading = HEADING.exec(line)
  // The heading of the element itself has the level 3.
  if (heading) {
    const level = /** @type {4 | 5 | 6} */ (Math.min(6, 3 + heading[1].length))
    return [h(`h${level}`, { dir: 'auto' }, inline(heading[2].trim().replace(/\s#+$/, ''))), 1]
  }
  if (RULE.test(line)) return [h('hr'), 1]
  if (FENCE.test(line)) return codeBlock(lines, start)
  if (depth < MAX_DEPTH && QUOTE.test(line)) {
    const quoted = take(lines, start, (line) => QUOTE.test(line))
    const inner = blocks(
      quoted.map((line) => line.replace(QUOTE, '')),
      depth + 1,
    )
    return [h('blockquote', { dir: 'auto' }, inner), quoted.length]
  }
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, start, depth)
  if (isTable(lines, start)) return table(lines, start)
  const rest = take(lines, start + 1, (line, n) => !!line.trim() && !isBlock(line) && !isTable(lines, n))
  const text = [line, ...rest]
  return [h('p', { dir: 'auto' }, text.flatMap(paragraphLine)), text.length]
}

/** @param {string} line @param {number} n @param {string[]} all */
function paragraphLine(line, n, all) {
  const isLast = n === all.length - 1
  const hasBackslash = !isLast && line.endsWith('\\')
  const text = hasBackslash ? line.slice(0, -1) : line
  return [...inline(text.trim()), hasBackslash || (!isLast && line.endsWith('  ')) ? h('br') : isLast ? '' : ' ']
}

/** Return true if a line ends the paragraph before it. @param {string} line */
const isBlock = (line) => [HEADING, RULE, FENCE, QUOTE, ITEM].some((pattern) => pattern.test(line))

/** @param {string[]} lines @param {number} n */
const isTable = (lines, n) => lines[n].includes('|') && n + 1 < lines.length && isDelimiterRow(lines[n + 1])

/** @param {string} line */
const isDelimiterRow = (line) => line.includes('|') && line.length < 1000 && DELIMITER_ROW.test(line)

/**
 * @param {string[]} lines
 * @param {number} start
 * @param {(line: string, n: number) => boolean} belongs
 */
function take(lines, start, belongs) {
  let end = start
  while (end < lines.length && belongs(lines[end], end)) end += 1
  return lines.slice(start, end)
}

/** @param {string[]} lines @param {number} start @returns {[HTMLElement, number]} */
function codeBlock(lines, start) {
  const fence = /** @type {RegExpExecArray} */ (FENCE.exec(lines[start]))[1]
  const isEnd = (/** @type {string} */ line) => line.trim().startsWith(fence) && !line.trim().replaceAll(fence[0], '')
  const code = take(lines, start + 1, (line) => !isEnd(line))
  return [h('pre', { dir: 'auto' }, h('code', {}, code.join('\n'))), code.length + 2]
}

/**
 * @param {string[]} lines
 * @param {number} start
 * @param {number} depth
 * @returns {[HTMLElement, number]}
 */
function list(lines, start, depth) {
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(lines[start]))
  const number = first[3]
  const items = []
  let n = start
  while (n < lines.length) {
    const marker = ITEM.exec(lines[n])
    if (!marker || !!marker[3] !== !!number || RULE.test(lines[n])) break
    const indent = first[1].length + 2
    const inner = take(
      lines,
      n + 1,
      (line, m) => indentOf(line) >= indent || (!line.trim() && indentOf(lines[m + 1] ?? '') >= indent),
    )
    const width = Math.max(
      indent,
      ...inner
        .filter((line) => line.trim())
        .slice(0, 1)
        .map(indentOf),
    )
    items.push([lines[n].slice(marker[0].length), ...inner.map((line) => line.slice(Math.min(width, indentOf(line))))])
    n += 1 + inner.length
    if (n < lines.length && !lines[n].trim() && ITEM.test(lines[n + 1] ?? '')) n += 1
  }
  const elements = items.map((item) => listItem(item, depth))
  const attributes = number && number !== '1' ? { start: Number(number) } : {}
  return [number ? h('ol', attributes, elements) : h('ul', {}, elements), n - start]
}

/** @param {string} line */
const indentOf = (line) => (line.trim() ? line.length - line.trimStart().length : 0)

/** @param {string[]} lines @param {number} depth */
function listItem(lines, depth) {
  const task = TASK.exec(lines[0])
  if (task) lines[0] = `${task[1] === ' ' ? '☐' : '☑'} ${lines[0].slice(4)}`
  const [first, ...rest] = blocks(lines, depth + 1)
  // The text of an item needs no paragraph of its own.
  const head = first?.localName === 'p' ? [...first.childNodes] : first ? [first] : []
  return h('li', { dir: 'auto', class: task && 'task' }, head, rest)
}

/** @param {string[]} lines @param {number} start @returns {[HTMLElement, number]} */
function table(lines, start) {
  const [header, , ...body] = take(lines, start, (line) => line.includes('|'))
  const row = (/** @type {string} */ line, /** @type {'th' | 'td'} */ tag) =>
    h(
      'tr',
      {},
      cells(line).map((cell) => h(tag, { dir: 'auto' }, inline(cell))),
    )
  const rows = [
    h('thead', {}, row(header, 'th')),
    h(
      'tbody',
      {},
      body.map((line) => row(line, 'td')),
    ),
  ]
  const frame = { class: 'table', tabindex: '0', role: 'group', 'aria-label': texts.table }
  return [h('div', frame, h('table', {}, rows)), body.length + 2]
}

/** @param {string} line */
const cells = (line) =>
  line
    .trim()
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'))

// Bounded repetitions keep the time linear.
const TOKEN = new RegExp(
  [
    /\\([!-/:-@[-`{-~])/,
    /`+|\*+|_+|~~|!?\[/,
    /\]\(\s{0,9}<?([^\s()<>]{0,2000}(?:\([^\s()<>]{0,2000}\)[^\s()<>]{0,2000})?)>?(?:\s{1,9}"[^"]{0,2000}")?\s{0,9}\)/,
    /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'gi',
)
const MAX_OPEN = 16
/** @type {Record<string, 'strong' | 'em' | 'del'>} */
const ELEMENTS = { '**': 'strong', __: 'strong', '*': 'em', _: 'em', '~~': 'del' }

/**
 * Return the nodes of a text with emphasis, code and links.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
function inline(text) {
  const line = new InlineText(text)
  let reached = 0
  for (let match; (match = nextToken(text, reached));) {
    line.nodes.push(text.slice(reached, match.index))
    reached = line.add(match)
  }
  return [...line.nodes, text.slice(reached)]
}

/** @param {string} text @param {number} from */
function nextToken(text, from) {
  TOKEN.lastIndex = from
  return TOKEN.exec(text)
}

class InlineText {
  /** @type {(Node | string)[]} */
  nodes = []
  /** Delimiters without an end yet, each with its place in the nodes. @type {{ mark: string, place: number }[]} */
  #open = []

  /** @param {string} text */
  constructor(text) {
    this.text = text
  }

  /** Add a token; return the index after it. @param {RegExpExecArray} match */
  add(match) {
    const [token, escaped, url, link] = match
    const end = match.index + token.length
    if (escaped) this.nodes.push(escaped)
    else if (link) this.nodes.push(anchor(link, [link]))
    else if (token[0] === '`') return this.#addCode(token, end)
    else if (token.endsWith('[')) this.#push(token)
    else if (token[0] === ']') this.#closeLink(token, url)
    else this.#addEmphasis(token, match.index, end)
    return end
  }

  /** @param {string} fence @param {number} start */
  #addCode(fence, start) {
    const end = fence.length < 4 ? this.text.indexOf(fence, start) : -1
    if (end === -1) this.nodes.push(fence)
    else this.nodes.push(h('code', { dir: 'auto' }, this.text.slice(start, end).trim()))
    return end === -1 ? start : end + fence.length
  }

  /** @param {string} run @param {number} start @param {number} end */
  #addEmphasis(run, start, end) {
    const [before, after] = [this.text[start - 1] ?? ' ', this.text[end] ?? ' ']
    const isInWord = run[0] === '_' && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after)
    if (run.length > 3 || isInWord) return void this.nodes.push(run)
    let rest = run
    while (rest && /\S/.test(before)) {
      const open = this.#open.findLast(({ mark }) => mark[0] === run[0] && rest.startsWith(mark))
      if (!open) break
      this.#wrap(open, (children) => h(ELEMENTS[open.mark], {}, children))
      rest = rest.slice(open.mark.length)
    }
    const canOpen = /\S/.test(after)
    for (let size; rest && (size = Math.min(2, rest.length)); rest = rest.slice(size)) {
      const mark = rest.slice(0, size)
      if (canOpen) this.#push(mark)
      else this.nodes.push(mark)
    }
  }

  /** @param {string} token @param {string} url */
  #closeLink(token, url) {
    const open = this.#open.findLast(({ mark }) => mark.endsWith('['))
    if (!open || !isSafe(url)) return void this.nodes.push(token)
    this.#wrap(open, (children) => anchor(url, children))
  }

  /** @param {string} mark */
  #push(mark) {
    this.#open = [...this.#open, { mark, place: this.nodes.length }].slice(-MAX_OPEN)
    this.nodes.push(mark)
  }

  /**
   * Replace a delimiter and the nodes after it by one element.
   * @param {{ place: number }} open
   * @param {(children: (Node | string)[]) => Node} make
   */
  #wrap(open, make) {
    const [, ...children] = this.nodes.splice(open.place)
    this.nodes.push(make(children))
    this.#open = this.#open.filter(({ place }) => place < open.place)
  }
}

/** @param {string} url */
const isSafe = (url) => /^(?:https?:\/\/|mailto:)/i.test(url)

/** @param {string} url @param {(Node | string)[]} children */
const anchor = (url, children) =>
  h('a', { href: url, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'auto' }, children)
