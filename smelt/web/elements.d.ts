// Declarations of the custom elements.
import type { CreateRequest, SmeltClient, SmeltError, SmeltJob, SmeltView } from './smelt.js'

/** `waiting`: for a worker; `partial`: completed, except for files that failed; `idle`: without a smelt. */
export type ElementState = 'idle' | 'waiting' | 'processing' | 'completed' | 'partial' | 'failed' | 'cancelled'

declare class ClientElement extends HTMLElement {
  /** The client; without one, that of `setDefaultClient`. */
  get client(): SmeltClient | null
  set client(client: SmeltClient | null)
}

declare class JobElement extends ClientElement {
  /** The watched smelt; setting it sets the attribute `smelt-id`, and the other way around. */
  get job(): SmeltJob | null
  set job(job: SmeltJob | null)
  /** The attribute `smelt-id`. */
  get smeltId(): string | null
  set smeltId(id: string | null)
  readonly state: ElementState
}

/** With the attribute `readonly`, it offers neither a cancellation nor a retry. */
export class SmeltProgressElement extends JobElement {}
/** With the attribute `playable`, each time is a button that dispatches `smelt-seek`. */
export class SmeltTranscriptElement extends JobElement {}
export class SmeltResultElement extends JobElement {}

export class SmeltUploadElement extends ClientElement {
  /** Merged into the request of each upload. */
  request: Omit<
    CreateRequest,
    'files' | 'text' | 'signal' | 'onCreated' | 'onUpload' | 'idempotencyKey' | 'cancelOnAbort'
  >
  accept: string
  disabled: boolean
  /** Upload files as one smelt, unless an upload is running. */
  upload(files: Iterable<File>): void
  /** Cancel the upload and its smelt. */
  cancel(): void
}

/** Set the client of all elements without one of their own. */
export function setDefaultClient(client: SmeltClient | null): void

type TextName =
  | 'transcription'
  | 'starting'
  | 'completed'
  | 'partial'
  | 'failed'
  | 'cancelled'
  | 'cancel'
  | 'retry'
  | 'live'
  | 'connecting'
  | 'polling'
  | 'unsubmitted'
  | 'transcript'
  | 'search'
  | 'previous'
  | 'next'
  | 'noMatch'
  | 'follow'
  | 'unsure'
  | 'noSpeech'
  | 'noTranscript'
  | 'result'
  | 'noResult'
  | 'table'
  | 'copy'
  | 'copied'
  | 'download'
  | 'upload'
  | 'drop'
  | 'choose'
  | 'record'
  | 'recording'
  | 'level'
  | 'stop'
  | 'discard'
  | 'uploading'
  | 'uploaded'
  | 'uploadFailed'
  | 'unsent'
  | 'noMicrophone'

/** The texts of the elements; replace them before the first element is created. */
export const texts: Record<TextName, string> & {
  queue: (position: number) => string
  remaining: (seconds: number | null | undefined) => string
  untranscribed: (time: string) => string
  written: (title: string) => string
  matches: (current: number, count: number) => string
  amount: (loaded: string, total: string) => string
}

export interface SmeltElementEvents {
  'smelt-state': CustomEvent<{ readonly state: ElementState; readonly view: SmeltView | null }>
  /** A time of a transcript was chosen; `start` is in seconds. */
  'smelt-seek': CustomEvent<{ readonly file_id: string; readonly start: number }>
  'smelt-created': CustomEvent<{ readonly job: SmeltJob }>
  'smelt-submitted': CustomEvent<{ readonly job: SmeltJob }>
  'smelt-upload-failed': CustomEvent<{ readonly error: SmeltError; readonly canRetry: boolean }>
}

declare global {
  interface HTMLElementTagNameMap {
    'smelt-progress': SmeltProgressElement
    'smelt-result': SmeltResultElement
    'smelt-transcript': SmeltTranscriptElement
    'smelt-upload': SmeltUploadElement
  }
  interface HTMLElementEventMap extends SmeltElementEvents {}
}

// Only what is exported explicitly is public.
export {}
