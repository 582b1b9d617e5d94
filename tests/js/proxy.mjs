// A TCP proxy in front of the project that can be cut.
import { connect, createServer } from 'node:net'

/**
 * Return a started proxy: `cut` resets all connections and refuses new ones until `restore`; `cutAfter` resets them once
 * so many more bytes were sent to the project.
 */
export async function startProxy(target = process.env.SUPABASE_URL) {
  const { hostname, port } = new URL(target)
  const sockets = new Set()
  let isCut = false
  let bytesLeft = Infinity
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
    client.on('data', ({ length }) => {
      bytesLeft -= length
      if (bytesLeft > 0) return
      bytesLeft = Infinity
      cut()
      restore()
    })
    client.pipe(upstream).pipe(client)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  const restore = () => {
    isCut = false
  }
  const cutAfter = (bytes) => {
    bytesLeft = bytes
  }
  const close = () => {
    cut()
    server.close()
  }
  return { url: `http://127.0.0.1:${server.address().port}`, cut, restore, cutAfter, close }
}
