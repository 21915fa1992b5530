/**
 * The network between everybody and the gateway: a port that stays, whatever becomes of the gateway behind it, and links
 * that can be cut, torn in the midst of a frame, stalled and halved.
 * Invariant: a link passes each side's bytes on unchanged and in order, until it ends.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** To the gateway, or down from it. */
export type Way = 'up' | 'down'

export interface Link {
  /** Bytes that came down. */
  readonly came: number
  /** Both sides are reset; what was on its way is lost. */
  cut(): void
  /** Lets that many more bytes through, then ends both sides right there. */
  tear(way: Way, bytes: number): void
  /** Nothing more is read from the gateway: what it writes fills the buffers on the way. */
  stall(): void
  wake(): void
  /** The side that way is gone and the other is not told, until `cut`. */
  halve(gone: Way): void
}

export interface Network extends AsyncDisposable {
  /** `http://…`, without a path. */
  readonly url: string
  /** Those that are open. */
  readonly links: ReadonlySet<Link>
  /** Chunks that were cut in two. */
  readonly torn: number
  /** Where the gateway is now; null: whoever connects is reset. */
  aim(port: number | null): void
  /** Called with every link before a byte passes. */
  onLink: (link: Link) => void
}

const HOST = '127.0.0.1'

export async function createNetwork(): Promise<Network> {
  const links = new Set<Link>()
  let target: number | null = null
  let torn = 0

  function join(client: Socket, gateway: Socket): Link {
    const left = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY }
    let isHalf = false
    let came = 0

    function pass(way: Way, from: Socket, to: Socket): void {
      from.on('data', chunk => {
        // What it had read before it was destroyed still comes.
        if (from.destroyed) return
        const whole = chunk.length <= left[way]
        to.write(whole ? chunk : chunk.subarray(0, left[way]))
        if (!whole && left[way] > 0) torn++
        left[way] -= Math.min(left[way], chunk.length)
        if (way === 'down') came += chunk.length
        if (whole) return
        to.destroySoon()
        from.destroy()
      })
      // Its close follows.
      from.on('error', () => {})
      from.on('close', () => {
        if (!isHalf) to.destroySoon()
        if (client.destroyed && gateway.destroyed) links.delete(link)
      })
    }

    const link: Link = {
      get came() {
        return came
      },
      cut() {
        client.destroy()
        gateway.destroy()
      },
      tear(way, bytes) {
        left[way] = bytes
      },
      stall: () => void gateway.pause(),
      wake: () => void gateway.resume(),
      halve(gone) {
        isHalf = true
        const [lost, kept] = gone === 'up' ? [gateway, client] : [client, gateway]
        lost.destroy()
        kept.pause()
      },
    }
    pass('up', client, gateway)
    pass('down', gateway, client)
    links.add(link)
    return link
  }

  const server = createServer(client => {
    if (target === null) client.destroy()
    else network.onLink(join(client, connect(target, HOST)))
  })
  await once(server.listen(0, HOST), 'listening')

  const network: Network = {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}`,
    links,
    get torn() {
      return torn
    },
    aim(port) {
      target = port
    },
    onLink: () => {},
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const link of links) link.cut()
      await closed
    },
  }
  return network
}
