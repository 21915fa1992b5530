/**
 * The process that sends the requests: a number of connections, each with one request in flight; the next follows as
 * soon as one is answered.
 * Invariant: every answer is checked to contain the text that its operation expects.
 */
import { microseconds } from '../clock.ts'
import { serveCommands } from '../process-rpc.ts'
import type { BenchServer } from './bench-server.ts'
import { type Connection, connect } from './connection.ts'
import { type BenchOperation, prepareRequest } from './operations.ts'

/** Requests that are prepared before the run and then repeated. */
const PREPARED_REQUESTS = 1000

interface Request {
  text: string
  expectedText: string
}

let connections: Connection[] = []
let nextRequest: () => Request
/** Counts the submits to all servers, so that no two of them receive the same submit. */
let submitNumber = 1

function createRequest(target: BenchServer, operation: BenchOperation, n: number): Request {
  const { body, expectedText } = prepareRequest(operation, n)
  const head = [
    'POST /graphql HTTP/1.1',
    `host: 127.0.0.1:${target.port}`,
    `authorization: ${target.authorization}`,
    'accept: application/json',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  return { text: `${head.join('\r\n')}\r\n\r\n${body}`, expectedText }
}

function requestSource(target: BenchServer, operation: BenchOperation): () => Request {
  if (operation.name === 'Submit') return () => createRequest(target, operation, submitNumber++)
  const prepared = Array.from({ length: PREPARED_REQUESTS }, (_, n) => createRequest(target, operation, n))
  let n = 0
  return () => prepared[n++ % PREPARED_REQUESTS]!
}

async function sendNext(connection: Connection): Promise<Buffer> {
  const { text, expectedText } = nextRequest()
  const body = await connection.send(text)
  if (!body.includes(expectedText)) throw new Error(`${text}\n\n${body}`)
  return body
}

const commands = {
  async open(target: BenchServer, operation: BenchOperation, inFlight: number) {
    nextRequest = requestSource(target, operation)
    connections = await Promise.all(Array.from({ length: inFlight }, () => connect(target.port)))
  },

  /** Sends requests for `ms`. */
  async run(ms: number) {
    const startedAt = microseconds()
    const deadline = startedAt + ms * 1000
    let answers = 0
    const sendUntilDeadline = async (connection: Connection) => {
      for (; microseconds() < deadline; answers++) await sendNext(connection)
    }
    await Promise.all(connections.map(sendUntilDeadline))
    return { answers, microseconds: microseconds() - startedAt }
  },

  /** Returns the bodies of the next answers, one after the other. */
  async answers(count: number) {
    const bodies: string[] = []
    while (bodies.length < count) bodies.push(String(await sendNext(connections[0]!)))
    return bodies
  },

  close() {
    for (const connection of connections) connection.close()
    connections = []
  },
}

export type LoadCommands = typeof commands
serveCommands(commands)
