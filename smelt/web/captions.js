// Captions and times as text.

/** @typedef {{ start: number, end: number, text: string, speaker?: string | null }} Caption */

const LINE_CHARS = 42
const LINES = 2

/**
 * Return SubRip captions of the segments of one file.
 * @param {readonly Caption[]} segments
 */
export const toSrt = (segments) =>
  cuesOf(segments)
    .map(
      ({ start, end, lines }, n) =>
        `${n + 1}\n${timestamp(start, ',')} --> ${timestamp(end, ',')}\n${lines.join('\n')}\n`,
    )
    .join('\n')

/**
 * Return WebVTT captions of the segments of one file.
 * @param {readonly Caption[]} segments
 */
export const toVtt = (segments) =>
  'WEBVTT\n' +
  cuesOf(segments)
    .map(
      ({ start, end, lines }) =>
        `\n${timestamp(start, '.')} --> ${timestamp(end, '.')}\n${escaped(lines.join('\n'))}\n`,
    )
    .join('')

/**
 * Return a time remaining for people, such as `about 3 min left`; empty if it is unknown.
 * @param {number | null | undefined} seconds
 */
export function formatRemaining(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return ''
  if (seconds < 10) return 'a few seconds left'
  if (seconds < 55) return `about ${Math.round(seconds / 5) * 5} s left`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `about ${minutes} min left`
  return minutes % 60 ? `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left` : `about ${minutes / 60} h left`
}

/** @param {readonly Caption[]} segments */
function cuesOf(segments) {
  const cues = []
  let reached = 0
  for (const [n, { start, end, text, speaker }] of segments.entries()) {
    // An empty line, and an arrow, would end the cue.
    const words = `${speaker ? `${speaker}: ` : ''}${text}`.replaceAll('-->', '→').split(/\s+/).filter(Boolean)
    if (!words.length) continue
    const from = Math.max(reached, start)
    const next = segments[n + 1]?.start ?? Infinity
    reached = Math.max(from, next > from ? Math.min(end, next) : end)
    cues.push(...divided(words, from, reached))
  }
  return cues
}

/**
 * Divide the words of a segment into cues of two lines, each with its share of the time by its letters.
 * @param {string[]} words
 * @param {number} start
 * @param {number} end
 */
function divided(words, start, end) {
  const lines = ['']
  for (const word of words) {
    const line = lines[lines.length - 1]
    if (line && line.length + word.length >= LINE_CHARS) lines.push(word)
    else lines[lines.length - 1] = line ? `${line} ${word}` : word
  }
  const perLetter = (end - start) / lines.join('').length
  const cues = []
  for (let from = start; lines.length;) {
    const shown = lines.splice(0, LINES)
    const until = lines.length ? from + perLetter * shown.join('').length : end
    cues.push({ start: from, end: until, lines: shown })
    from = until
  }
  return cues
}

/** @param {number} seconds @param {string} mark before the milliseconds */
function timestamp(seconds, mark) {
  const ms = Math.round(seconds * 1000)
  const two = (/** @type {number} */ value) => String(Math.floor(value)).padStart(2, '0')
  const clock = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map(two).join(':')
  return `${clock}${mark}${String(ms % 1000).padStart(3, '0')}`
}

/** @param {string} text */
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
