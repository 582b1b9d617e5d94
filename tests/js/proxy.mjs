// A TCP proxy in front of the project that can be cut, or relay no bytes.
import { connect, createServer } from 'node:net'

/**
 * Return a started proxy: `cut` resets all connections and refuses new ones until `restore`; `cutAfter` resets them
 * once so many more bytes were sent to the project, and `stallAfter` relays no more bytes of these connections then;
 * `cutAt` resets them once at a request with this text, and `holdAt` keeps its answer back until `release`.
 */
export async function startProxy(target = process.env.SUPABASE_URL) {
  const { hostname, port } = new URL(target)
  const sockets = new Set()
  let isCut = false
  let bytesLeft = Infinity
  let onBytes = () => {}
  let cutText = null
  let heldText = null
  const held = new Set()
  const server = createServer((client) => {
    if (isCut) return client.destroy()
    const upstream = connect(Number(port), hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket
        .on('error', () => {})
        .on('close', () => {
          sockets.delete(socket)
          client.destroy()
          upstream.destroy()
        })
    }
    client.on('data', (data) => {
      if (cutText && data.includes(cutText)) {
        cutText = null
        return reset()
      }
      if (heldText && data.includes(heldText)) {
        heldText = null
        upstream.unpipe(client)
        held.add(answer)
      }
      bytesLeft -= data.length
      if (bytesLeft > 0) return
      bytesLeft = Infinity
      onBytes()
    })
    client.pipe(upstream)
    const answer = () => upstream.pipe(client)
    answer()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  const restore = () => {
    isCut = false
  }
  const reset = () => {
    cut()
    restore()
  }
  const cutAfter = (bytes) => {
    bytesLeft = bytes
    onBytes = reset
  }
  const stallAfter = (bytes) => {
    bytesLeft = bytes
    onBytes = () => {
      for (const socket of sockets) socket.unpipe().pause()
    }
  }
  const cutAt = (text) => {
    cutText = text
  }
  const holdAt = (text) => {
    heldText = text
  }
  const release = () => {
    for (const answer of held) answer()
    held.clear()
  }
  const close = () => {
    cut()
    server.close()
  }
  const url = `http://127.0.0.1:${server.address().port}`
  return { url, cut, restore, cutAfter, stallAfter, cutAt, holdAt, release, close }
}
