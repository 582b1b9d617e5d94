// The idempotency key of a request whose files a user chooses: until its upload has ended, the same files have the same
// key, also after a reload of the page.
import { findSaved, fingerprintOf, forget, save } from './saved-uploads.js'
import { randomId } from './upload.js'

/** @import { CreateRequest } from './smelt.d.ts' */

/** Return the key of an interrupted upload of the same request, or a new one. @param {CreateRequest} request */
export function keyOf(request) {
  const fingerprint = requestFingerprint(request)
  const key = findSaved(fingerprint) ?? randomId()
  save(fingerprint, key)
  return key
}

/** Forget the key: the upload has ended. @param {CreateRequest} request */
export const forgetKey = (request) => forget(requestFingerprint(request))

/** @param {CreateRequest} request */
function requestFingerprint({ files = [], ...rest }) {
  const names = files.map((file) => fingerprintOf('', '', 'blob' in file ? file.blob : file))
  return JSON.stringify(['request', rest, names])
}
