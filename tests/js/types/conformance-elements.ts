// The declarations describe the custom elements.
import * as elements from './smelt/elements-module.js'
import type * as elementsApi from './smelt/elements.js'

const declared: typeof elementsApi = elements
export { declared }

declare const upload: elementsApi.SmeltUploadElement
// @ts-expect-error An element has a key for each upload.
upload.request = { idempotencyKey: 'mine' }
