// Nodes, times and sizes. All text becomes text nodes: no markup is ever parsed.

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Child | readonly Child[]} Children a list may be too long for the arguments of a call */

/**
 * Return a new element; an attribute that is null or false is left out, true is an empty one, a function is a listener.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Children} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  // The attributes follow the children: with `dir`, Chromium examines all children again after each insertion.
  for (const child of children.flat()) if (child) element.append(child)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, /** @type {EventListener} */ (value))
    else setAttribute(element, name, value)
  }
  return element
}

/**
 * @param {string} part
 * @param {string} text
 * @param {() => void} onClick
 * @param {Record<string, unknown>} [attributes]
 */
export const button = (part, text, onClick, attributes) =>
  h('button', { type: 'button', part: `button ${part}`, click: onClick, ...attributes }, text)

/** Return an element for text of others, whose direction does not affect the text around it. @param {string} part */
export const isolated = (part, text = '') => h('bdi', { part, dir: 'auto' }, text)

/** Return a bar from 0 to 100. @param {string} part @param {string} label */
export const bar = (part, label) =>
  h(
    'div',
    { part: `bar ${part}`, role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 },
    h('div', { part: 'fill' }),
  )

/**
 * Return an item of a list of files; its last child is the bar of the file.
 * @param {HTMLElement} name
 * @param {HTMLElement} note
 */
export const fileItem = (name, note) =>
  h('li', { part: 'file' }, h('div', { class: 'row' }, name, note), bar('file-bar', name.textContent ?? ''))

/**
 * Set the value of a bar; null is an unknown one.
 * @param {HTMLElement} element
 * @param {number | null} percentage
 * @param {string} [text]
 */
export function setBar(element, percentage, text) {
  const value = percentage === null ? null : Math.round(Math.min(100, Math.max(0, percentage)))
  setAttribute(element, 'aria-valuenow', value)
  setAttribute(element, 'aria-valuetext', text || null)
  const fill = /** @type {HTMLElement} */ (element.firstElementChild)
  fill.style.setProperty('inline-size', `${value ?? 0}%`)
}

/** @param {number} lines */
export const skeleton = (lines) =>
  h(
    'div',
    { part: 'skeleton', 'aria-hidden': 'true' },
    Array.from({ length: lines }, () => h('div')),
  )

/** Change a text only if it differs: a live region announces each change. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

/**
 * Make elements the children of a parent, without moving those that are in their place.
 * @param {Element} parent
 * @param {readonly Element[]} elements
 */
export function place(parent, elements) {
  const { children } = parent
  elements.forEach((element, n) => children[n] === element || parent.insertBefore(element, children[n] ?? null))
  while (children.length > elements.length) parent.lastElementChild?.remove()
}

/** @param {Element} element @param {string} name @param {unknown} value null and false remove the attribute */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name)
  else {
    const text = value === true ? '' : String(value)
    if (element.getAttribute(name) !== text) element.setAttribute(name, text)
  }
}

/** Return a time such as `1:05` or `1:00:05`. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds))
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  const two = (/** @type {number} */ value) => String(value).padStart(2, '0')
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`
}

/** Return a size such as `12.3 MB`. @param {number} bytes */
export function sizeOf(bytes) {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1000)} kB`
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** Offer a file for download. @param {string} filename @param {Blob} content */
export function download(filename, content) {
  const url = URL.createObjectURL(content)
  // Control and direction characters could make the name appear as another one.
  const name = filename.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\:*?"<>|]/gu, '_')
  h('a', { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}
