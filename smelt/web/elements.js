// Custom elements for any page: importing this module defines them.
import { setDefaultClient } from './elements/base.js'
import { SmeltProgressElement } from './elements/progress.js'
import { SmeltResultElement } from './elements/result.js'
import { texts } from './elements/texts.js'
import { SmeltTranscriptElement } from './elements/transcript.js'
import { SmeltUploadElement } from './elements/upload.js'

const definitions = {
  'smelt-progress': SmeltProgressElement,
  'smelt-result': SmeltResultElement,
  'smelt-transcript': SmeltTranscriptElement,
  'smelt-upload': SmeltUploadElement,
}

// A server has no registry; a page may load two copies of the package.
for (const [name, element] of Object.entries(definitions))
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, element)

export { setDefaultClient, SmeltProgressElement, SmeltResultElement, SmeltTranscriptElement, SmeltUploadElement, texts }
