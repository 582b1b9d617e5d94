// A recording of the microphone.

/** @type {readonly string[]} */
const TYPES = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus']

/** Return true if this page may ask for the microphone; browsers allow it with HTTPS and on localhost. */
export const canRecord = () => typeof MediaRecorder !== 'undefined' && !!navigator.mediaDevices?.getUserMedia

export class Recording {
  /** @type {Blob[]} */
  #pieces = []
  #startedAt = performance.now()
  #timer
  #recorder

  /** Ask for the microphone and start; throws if it is denied or missing. @param {(seconds: number) => void} onTime */
  static async start(onTime) {
    return new Recording(await navigator.mediaDevices.getUserMedia({ audio: true }), onTime)
  }

  /** @param {MediaStream} stream @param {(seconds: number) => void} onTime */
  constructor(stream, onTime) {
    this.stream = stream
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type))
    this.#recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {})
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data)
    this.#recorder.start(1000)
    this.#timer = setInterval(() => onTime((performance.now() - this.#startedAt) / 1000), 250)
  }

  /** Stop, release the microphone and return the recording. @returns {Promise<File>} */
  async stop() {
    clearInterval(this.#timer)
    const stopped = new Promise((resolve) => this.#recorder.addEventListener('stop', resolve))
    if (this.#recorder.state !== 'inactive') {
      this.#recorder.stop()
      await stopped
    }
    for (const track of this.stream.getTracks()) track.stop()
    const type = this.#recorder.mimeType.split(';')[0]
    const extension = type.endsWith('mp4') ? 'm4a' : type.split('/')[1] || 'webm'
    const time = new Date().toISOString().slice(0, 19).replace(/[T:]/g, '-')
    return new File(this.#pieces, `recording-${time}.${extension}`, { type })
  }
}
