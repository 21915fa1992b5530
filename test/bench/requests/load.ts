/**
 * The process that asks: so many requests in flight, each on a connection of its own, the next as soon as one is answered.
 * Invariant: every answer is looked at, and holds what its question wants.
 */
import { microseconds } from '../clock.ts'
import { answer } from '../remote.ts'
import { type Connection, connect } from './connection.ts'
import type { Contender } from './contender.ts'
import { ask, type Question } from './questions.ts'

/** Of requests that are asked again and again: so many are made beforehand. */
const MADE = 1000

interface Request {
  text: string
  proof: string
}

let connections: Connection[] = []
let next: () => Request
/** By anybody: no two servers get the same submit either. */
let submits = 1

function requestOf(target: Contender, question: Question, n: number): Request {
  const { body, proof } = ask(question, n)
  const head = [
    'POST /graphql HTTP/1.1',
    `host: 127.0.0.1:${target.port}`,
    `authorization: ${target.authorization}`,
    'accept: application/json',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  return { text: `${head.join('\r\n')}\r\n\r\n${body}`, proof }
}

function requestsOf(target: Contender, question: Question): () => Request {
  if (question.name === 'Submit') return () => requestOf(target, question, submits++)
  const made = Array.from({ length: MADE }, (_, n) => requestOf(target, question, n))
  let n = 0
  return () => made[n++ % MADE]!
}

async function heard(connection: Connection): Promise<Buffer> {
  const { text, proof } = next()
  const body = await connection.ask(text)
  if (!body.includes(proof)) throw new Error(`${text}\n\n${body}`)
  return body
}

const commands = {
  async open(target: Contender, question: Question, inFlight: number) {
    next = requestsOf(target, question)
    connections = await Promise.all(Array.from({ length: inFlight }, () => connect(target.port)))
  },

  /** For so long. */
  async run(ms: number) {
    const begun = microseconds()
    const until = begun + ms * 1000
    let answers = 0
    const keepAsking = async (connection: Connection) => {
      for (; microseconds() < until; answers++) await heard(connection)
    }
    await Promise.all(connections.map(keepAsking))
    return { answers, microseconds: microseconds() - begun }
  },

  /** The next answers, one after the other. */
  async answers(count: number) {
    const bodies: string[] = []
    while (bodies.length < count) bodies.push(String(await heard(connections[0]!)))
    return bodies
  },

  close() {
    for (const connection of connections) connection.close()
    connections = []
  },
}

export type LoadCommands = typeof commands
answer(commands)
