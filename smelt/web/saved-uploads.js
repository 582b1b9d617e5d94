// The ids of unfinished uploads: Storage cannot list them by object. They are kept in the page, and where there is a
// localStorage, beyond it.

export const UPLOAD_ID = /^[\w-]+$/
const SAVED_KEY = 'smelt-uploads'
const SAVED_FOR_MS = 24 * 3600 * 1000 // As long as Storage keeps the upload.
const MAX_SAVED = 50

/** @typedef {{ id: string, savedAt: number }} Saved */

/** @type {Map<string, Saved>} */
let inPage = new Map()
/** @type {WeakMap<Blob, string>} */
const unnamed = new WeakMap()

/**
 * Return a key for a file and its target; two contents must never be mixed in one upload. A `Blob` that is not a file
 * is only equal to itself.
 * @param {string} url
 * @param {string} path
 * @param {Blob} file
 */
export function fingerprintOf(url, path, file) {
  if (file instanceof File) return JSON.stringify([url, path, file.name, file.size, file.lastModified])
  const name = unnamed.get(file) ?? `${Math.random()}`
  unnamed.set(file, name)
  return JSON.stringify([url, path, name])
}

/** Return the id of an upload. @param {string} fingerprint */
export const findSaved = (fingerprint) => allSaved().get(fingerprint)?.id

/** Save the id of an upload, and drop the oldest one above 50. @param {string} fingerprint @param {string} id */
export function save(fingerprint, id) {
  const saved = allSaved()
  saved.delete(fingerprint) // Else it would keep its place.
  replaceSaved([...saved, [fingerprint, { id, savedAt: Date.now() }]])
}

/** @param {string} fingerprint */
export function forget(fingerprint) {
  const saved = allSaved()
  saved.delete(fingerprint)
  replaceSaved([...saved])
}

/** Return the current uploads by fingerprint, oldest first. */
function allSaved() {
  /** @type {[string, Saved][]} */
  let stored = []
  const isCurrent = (/** @type {[string, Saved]} */ [, { id, savedAt }]) =>
    UPLOAD_ID.test(id) && Date.now() - savedAt < SAVED_FOR_MS
  try {
    stored = JSON.parse(localStorage.getItem(SAVED_KEY) ?? '[]').filter(isCurrent)
  } catch {} // There is no storage, it is not accessible, or its content is another app's.
  return new Map([...stored, ...[...inPage].filter(isCurrent)])
}

/** @param {[string, Saved][]} saved */
function replaceSaved(saved) {
  const newest = saved.slice(-MAX_SAVED)
  inPage = new Map(newest)
  try {
    localStorage.setItem(SAVED_KEY, JSON.stringify(newest))
  } catch {} // Uploads continue only within the page then.
}
