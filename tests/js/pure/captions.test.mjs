// Captions and times as text.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatRemaining, toSrt, toVtt } from '../../../smelt/web/captions.js'

const SEGMENTS = [
  { start: 0, end: 2.5, text: ' Hello <there> & welcome. ' },
  { start: 2.4, end: 3, text: 'a --> b\n\nc', speaker: 'Emma' },
  { start: 3, end: 4, text: '   ' },
  { start: 3661.0004, end: 3671, text: 'word '.repeat(40) },
]

test('toSrt has numbered cues that do not overlap', () => {
  const cues = toSrt(SEGMENTS)
    .trim()
    .split('\n\n')
    .map((cue) => cue.split('\n'))
  assert.deepEqual(cues[0], ['1', '00:00:00,000 --> 00:00:02,400', 'Hello <there> & welcome.'])
  assert.deepEqual(cues[1], ['2', '00:00:02,400 --> 00:00:03,000', 'Emma: a → b c'])
  assert.deepEqual(
    cues.map(([number]) => number),
    cues.map((_, n) => `${n + 1}`),
  )
  const long = cues.slice(2)
  assert.equal(long[0][1].slice(0, 12), '01:01:01,000')
  assert.equal(long.at(-1)[1].slice(17), '01:01:11,000')
  long.slice(1).forEach(([, times], n) => assert.equal(times.slice(0, 12), long[n][1].slice(17)))
  const lines = long.flatMap((cue) => cue.slice(2))
  assert.ok(long.every((cue) => cue.length <= 4) && lines.every((line) => line.length <= 42))
  assert.equal(lines.join(' '), SEGMENTS[3].text.trim())
  assert.equal(toSrt([]), '')
})

test('toVtt escapes what WebVTT would interpret', () => {
  const lines = toVtt(SEGMENTS).split('\n')
  assert.deepEqual(lines.slice(0, 4), [
    'WEBVTT',
    '',
    '00:00:00.000 --> 00:00:02.400',
    'Hello &lt;there&gt; &amp; welcome.',
  ])
})

test('formatRemaining rounds to what an estimate is worth', () => {
  const cases = {
    3: 'a few seconds left',
    32: 'about 30 s left',
    58: 'about 1 min left',
    200: 'about 3 min left',
    3600: 'about 1 h left',
    5400: 'about 1 h 30 min left',
  }
  for (const [seconds, text] of Object.entries(cases)) assert.equal(formatRemaining(Number(seconds)), text)
  for (const unknown of [null, undefined, NaN]) assert.equal(formatRemaining(unknown), '')
})
