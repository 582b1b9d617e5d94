// A recording of the microphone, which is switched off at its end.

/** @type {readonly string[]} */
const TYPES = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus']

export class Recording {
  /** @type {Blob[]} */
  #pieces = []
  #startedAt = performance.now()
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer
  #recorder

  /** Request the microphone and start; throws if it is denied or missing. @param {(seconds: number) => void} onTime */
  static async start(onTime) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
    try {
      return new Recording(stream, onTime)
    } catch (error) {
      release(stream)
      throw error
    }
  }

  /** @param {MediaStream} stream @param {(seconds: number) => void} onTime */
  constructor(stream, onTime) {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type))
    this.#recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {})
    this.#recorder.ondataavailable = ({ data }) => this.#pieces.push(data)
    /** Resolves at the end, which may be that of the microphone. @type {Promise<void>} */
    this.ended = new Promise((resolve) => {
      this.#recorder.onstop = () => {
        clearInterval(this.#timer)
        release(stream)
        resolve()
      }
    })
    this.#recorder.start(1000)
    this.#timer = setInterval(() => onTime((performance.now() - this.#startedAt) / 1000), 250)
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
