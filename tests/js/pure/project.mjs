// A project of one process, as a `Transport`: rows, channels that the test joins, and calls that it answers.

/** Let everything run that waits for promises alone. */
export const settle = async () => {
  for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** Wait until `read` returns a value; fail with `description` after 10 s. */
export async function until(read, description) {
  for (let n = 0; n < 1000; n += 1) {
    const value = await read()
    if (value) return value
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`waited 10 s for ${description}`)
}

export class Project {
  /** @type {Record<string, any[]>} rows by table */
  tables = {}
  /** @type {Set<any>} the handlers of the channels that are joined */
  channels = new Set()
  /** The number of reads of rows. */
  reads = 0
  user = 'a'
  call = async () => ({})
  #onUserChange = () => {}

  onUserChange(listener) {
    this.#onUserChange = listener
  }

  signIn(user) {
    this.user = user
    this.#onUserChange()
  }

  async account() {
    return {
      userId: async () => this.user,
      countUnread: async () => 0,
      rows: async (table) => {
        this.reads += 1
        return structuredClone(this.tables[table] ?? [])
      },
    }
  }

  join(topic, handlers) {
    const channel = { topic, joined: true, ...handlers }
    this.channels.add(channel)
    queueMicrotask(() => this.channels.has(channel) && channel.onJoined())
    return {
      get joined() {
        return channel.joined
      },
      leave: async () => this.channels.delete(channel),
    }
  }

  rejoin() {
    for (const { onJoined } of [...this.channels]) onJoined()
  }

  broadcast(event, payload) {
    for (const { onMessage } of [...this.channels]) onMessage(event, payload)
  }
}
