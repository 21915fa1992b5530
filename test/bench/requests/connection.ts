/**
 * One connection over a bare socket, kept alive: a request whole, then its response whole. A client of a library would cost
 * more than the servers do.
 * Invariant: whatever is not a whole response with status 200 ends the run.
 */
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'

export interface Connection {
  /** One at a time. Answers with the response's body. */
  ask(request: string): Promise<Buffer>
  close(): void
}

const HEAD_END = '\r\n\r\n'
const NOTHING = Buffer.alloc(0)

export async function connect(port: number): Promise<Connection> {
  const socket = connectSocket(port, '127.0.0.1')
  socket.setNoDelay()
  let came = NOTHING
  let resolve: ((body: Buffer) => void) | null = null
  let mayEnd = false

  socket.on('data', chunk => {
    came = came.length === 0 ? chunk : Buffer.concat([came, chunk])
    const body = bodyOf(came)
    if (body === null) return
    came = NOTHING
    const answered = resolve!
    resolve = null
    answered(body)
  })
  socket.on('close', () => {
    if (!mayEnd) throw new Error('the server closed a connection')
  })
  await once(socket, 'connect')

  return {
    ask(request) {
      socket.write(request)
      return new Promise(answered => {
        resolve = answered
      })
    },
    close() {
      mayEnd = true
      socket.destroy()
    },
  }
}

/** Null: not all of it is here. */
function bodyOf(response: Buffer): Buffer | null {
  const end = response.indexOf(HEAD_END)
  if (end === -1) return null
  const head = response.toString('latin1', 0, end)
  const from = end + HEAD_END.length
  const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? []
  const body = length === undefined ? unchunked(response, from) : whole(response, from, Number(length))
  if (body !== null && !head.startsWith('HTTP/1.1 200 ')) throw new Error(`${head}\n${body}`)
  return body
}

const whole = (response: Buffer, from: number, length: number): Buffer | null =>
  response.length < from + length ? null : response.subarray(from, from + length)

function unchunked(response: Buffer, from: number): Buffer | null {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const line = response.indexOf('\r\n', at)
    if (line === -1) return null
    const length = Number.parseInt(response.toString('latin1', at, line), 16)
    const chunk = whole(response, line + 2, length + 2)
    if (chunk === null) return null
    if (length === 0) return Buffer.concat(chunks)
    chunks.push(chunk.subarray(0, length))
    at = line + 2 + length + 2
  }
}
