// The clients that applications use, each behind the same four calls, each set up as its documentation advises for
// many concurrent callers. Values are strings; objects go through JSON where a client has nothing else. Each client is
// imported only when it is the one measured, so that none pays for the others.

/** A connected client. */
export interface ApplicationClient {
  set(key: string, value: string): Promise<unknown>
  get(key: string): Promise<string | undefined>
  setObject(key: string, value: object): Promise<unknown>
  getObject(key: string): Promise<unknown>
  close(): Promise<void>
}

export const APPLICATION_CLIENTS = {
  async ormuco(port: number): Promise<ApplicationClient> {
    const { OrmucoCacheClient } = await import('../../client/index.ts')
    const client = new OrmucoCacheClient({ servers: `127.0.0.1:${port}` })
    await client.connect()
    return {
      set: (key, value) => client.store(key, value),
      get: (key) => client.retrieve<string>(key),
      setObject: (key, value) => client.store(key, value),
      getObject: (key) => client.retrieve(key),
      close: () => client.close(),
    }
  },

  async ioredis(port: number): Promise<ApplicationClient> {
    const { Redis } = await import('ioredis')
    const client = new Redis({ host: '127.0.0.1', port, enableAutoPipelining: true })
    const get = async (key: string) => (await client.get(key)) ?? undefined
    return {
      set: (key, value) => client.set(key, value),
      get,
      setObject: (key, value) => client.set(key, JSON.stringify(value)),
      getObject: async (key) => parsed(await get(key)),
      close: async () => {
        await client.quit()
      },
    }
  },

  async 'node-redis'(port: number): Promise<ApplicationClient> {
    const { createClient } = await import('redis')
    const client = createClient({ url: `redis://127.0.0.1:${port}` })
    await client.connect()
    const get = async (key: string) => (await client.get(key)) ?? undefined
    return {
      set: (key, value) => client.set(key, value),
      get,
      setObject: (key, value) => client.set(key, JSON.stringify(value)),
      getObject: async (key) => parsed(await get(key)),
      close: () => client.close(),
    }
  },

  async memjs(port: number): Promise<ApplicationClient> {
    const { Client } = await import('memjs')
    const client = Client.create(`127.0.0.1:${port}`)
    const get = async (key: string) => (await client.get(key)).value?.toString()
    return {
      set: (key, value) => client.set(key, value, {}),
      get,
      setObject: (key, value) => client.set(key, JSON.stringify(value), {}),
      getObject: async (key) => parsed(await get(key)),
      close: async () => client.close(),
    }
  },
} as const

export type ApplicationClientId = keyof typeof APPLICATION_CLIENTS

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text)
}
