/**
 * A keep-alive connection over a bare socket: a whole request, then its whole response. A library's client would
 * cost more than the servers do.
 * Invariant: anything but a whole response with status 200 ends the run.
 */
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'

export interface Connection {
  /** Sends one request at a time. Returns the response's body. */
  send(request: string): Promise<Buffer>
  close(): void
}

const HEAD_END = '\r\n\r\n'
const EMPTY = Buffer.alloc(0)

export async function connect(port: number): Promise<Connection> {
  const socket = connectSocket(port, '127.0.0.1')
  socket.setNoDelay()
  let received = EMPTY
  let resolve: ((body: Buffer) => void) | null = null
  let mayClose = false

  socket.on('data', chunk => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    const body = parseBody(received)
    if (body === null) return
    received = EMPTY
    const finish = resolve!
    resolve = null
    finish(body)
  })
  socket.on('close', () => {
    if (!mayClose) throw new Error('the server closed a connection')
  })
  await once(socket, 'connect')

  return {
    send(request) {
      socket.write(request)
      return new Promise(answered => {
        resolve = answered
      })
    },
    close() {
      mayClose = true
      socket.destroy()
    },
  }
}

/** Null: the response is incomplete. */
function parseBody(response: Buffer): Buffer | null {
  const end = response.indexOf(HEAD_END)
  if (end === -1) return null
  const head = response.toString('latin1', 0, end)
  const from = end + HEAD_END.length
  const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? []
  const body =
    length === undefined ? decodeChunked(response, from) : readExactly(response, from, Number(length))
  if (body !== null && !head.startsWith('HTTP/1.1 200 ')) throw new Error(`${head}\n${body}`)
  return body
}

const readExactly = (response: Buffer, from: number, length: number): Buffer | null =>
  response.length < from + length ? null : response.subarray(from, from + length)

function decodeChunked(response: Buffer, from: number): Buffer | null {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const line = response.indexOf('\r\n', at)
    if (line === -1) return null
    const length = Number.parseInt(response.toString('latin1', at, line), 16)
    const chunk = readExactly(response, line + 2, length + 2)
    if (chunk === null) return null
    if (length === 0) return Buffer.concat(chunks)
    chunks.push(chunk.subarray(0, length))
    at = line + 2 + length + 2
  }
}
