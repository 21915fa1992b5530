/**
 * An image host that makes its images dear to read.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { png } from '../../support/upload.ts'

export interface ImageHost {
  name: string
  url: string
  requestCount(): number
}

const START = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const chunk = (data: Buffer) =>
  Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')])

/** What it sends first, and what it then repeats. */
function drawAnswer(random: SeededRandom): { name: string; first: Buffer; repeated: Buffer } {
  const pieceBytes = random.pick([1, 2, 16, 100, 511, 600, 1400, 65_536])
  const first = Buffer.concat([Buffer.from(START), chunk(png(random.pick([100, 70_000])))])
  const piece = chunk(Buffer.alloc(pieceBytes, 120))
  return random.pick([
    { name: `pieces of ${pieceBytes} bytes`, first, repeated: Buffer.concat(Array(200).fill(piece)) },
    { name: `packets of ${pieceBytes} bytes`, first, repeated: piece },
    { name: 'chunk extensions', first, repeated: Buffer.from(`1;${'x'.repeat(60_000)}\r\nx\r\n`) },
    {
      name: 'informational responses',
      first: Buffer.alloc(0),
      repeated: Buffer.from('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(500)),
    },
    { name: 'a head byte by byte', first: Buffer.from('HTTP/1.1 200 OK\r\nx: '), repeated: Buffer.from('x') },
  ])
}

function sendWithoutEnd(socket: Socket, repeated: Buffer): void {
  const more = () => {
    for (let i = 0; i < 100; i++) if (socket.destroyed || !socket.write(repeated)) break
    if (!socket.destroyed) socket.writableNeedDrain ? socket.once('drain', more) : setImmediate(more)
  }
  more()
}

export async function imageHost(random: SeededRandom, signal: AbortSignal): Promise<ImageHost> {
  const { name, first, repeated } = drawAnswer(random)
  let requests = 0
  const server = createServer({ noDelay: true }, socket => {
    requests++
    socket.on('error', () => {})
    signal.addEventListener('abort', () => socket.destroy(), { once: true })
    socket.once('data', () => {
      socket.write(first)
      sendWithoutEnd(socket, repeated)
    })
  })
  signal.addEventListener('abort', () => server.close(), { once: true })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return { name, url: `http://127.0.0.1:${port}/image.png`, requestCount: () => requests }
}
