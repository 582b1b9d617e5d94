// A recording of the microphone with its controls: time, level, stop, discard. The microphone is off after its end.
import { bar, button, clock, h, setAttribute, setBar, setText } from './dom.js'
import { texts } from './texts.js'

/** @type {readonly string[]} */
const TYPES = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus']
const UPDATE_INTERVAL_MS = 250
/** Samples of one measurement: at 48 kHz they cover the interval between two updates. */
const LEVEL_SAMPLES = 16_384
/** The level that is shown as silence, in dB below the loudest possible one. */
const SILENCE_DB = 60

/** Recordings that are only in this page: running, not sent, or being sent. @type {Set<Recording>} */
const unsaved = new Set()

/** Let the browser ask before the page is closed. @param {BeforeUnloadEvent} event */
const onUnload = (event) => {
  if (unsaved.size) event.returnValue = true // Chrome before 119 ignores `preventDefault`.
}

export class Recording {
  /** @type {Blob[]} */
  #pieces = []
  #startedAt = performance.now()
  #level = bar('level', texts.level)
  #time = h('span', { part: 'recording-time', role: 'timer' }, clock(0))
  #isMotionReduced = matchMedia('(prefers-reduced-motion: reduce)')
  #recorder
  #meter

  /**
   * Request the microphone and start; throws if it is denied or missing.
   * @param {{ onStop: () => void, onDiscard: () => void }} handlers of the buttons
   */
  static async start(handlers) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
    try {
      return new Recording(stream, handlers)
    } catch (error) {
      release(stream)
      throw error
    }
  }

  /** @param {MediaStream} stream @param {{ onStop: () => void, onDiscard: () => void }} handlers */
  constructor(stream, { onStop, onDiscard }) {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type))
    this.#recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {})
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data)
    this.#recorder.start(1000)
    this.#meter = meterOf(stream)
    setAttribute(this.#level, 'role', 'meter')
    this.#level.hidden = !this.#meter
    this.stopButton = button('stop', texts.stop, onStop)
    const buttons = h('span', { class: 'row end' }, this.stopButton, button('discard', texts.discard, onDiscard))
    this.controls = [
      h('span', { part: 'recording-dot' }),
      h('span', {}, texts.recording),
      this.#time,
      this.#level,
      buttons,
    ]
    const timer = setInterval(() => this.#update(), UPDATE_INTERVAL_MS)
    /** Resolves at the end, which may be that of the microphone. @type {Promise<void>} */
    this.ended = new Promise((resolve) => {
      this.#recorder.onstop = () => {
        clearInterval(timer)
        this.#meter?.context.close()
        release(stream)
        resolve()
      }
    })
    this.#showLevel()
    unsaved.add(this)
    addEventListener('beforeunload', onUnload) // One listener, however often it is added.
  }

  #update() {
    const time = clock((performance.now() - this.#startedAt) / 1000)
    // With reduced motion, the level changes with the time, once a second.
    if (!this.#isMotionReduced.matches || this.#time.textContent !== time) this.#showLevel()
    setText(this.#time, time)
  }

  #showLevel() {
    if (this.#meter) setBar(this.#level, this.#meter.level())
  }

  /** It was sent or discarded. */
  release() {
    unsaved.delete(this)
  }

  /** Stop, and return the recording. @returns {Promise<File>} */
  async stop() {
    if (this.#recorder.state !== 'inactive') this.#recorder.stop()
    await this.ended
    const type = this.#recorder.mimeType.split(';')[0]
    const extension = type.endsWith('mp4') ? 'm4a' : type.split('/')[1] || 'webm'
    const time = new Date().toISOString().slice(0, 19).replace(/[T:]/g, '-')
    return new File(this.#pieces, `recording-${time}.${extension}`, { type })
  }
}

/** @param {MediaStream} stream */
function release(stream) {
  for (const track of stream.getTracks()) track.stop()
}

/**
 * Return a context to close, and a function that returns the level of the last moment from 0 to 100; null if the
 * browser provides no context: a recording needs none.
 * @param {MediaStream} stream
 */
function meterOf(stream) {
  try {
    const context = new AudioContext()
    const analyser = new AnalyserNode(context, { fftSize: LEVEL_SAMPLES })
    context.createMediaStreamSource(stream).connect(analyser)
    const samples = new Float32Array(LEVEL_SAMPLES)
    const level = () => {
      analyser.getFloatTimeDomainData(samples)
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / LEVEL_SAMPLES
      return 100 * (1 + (10 * Math.log10(power)) / SILENCE_DB)
    }
    return { context, level }
  } catch {
    return null
  }
}
