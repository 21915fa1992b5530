/**
 * The process of an upstream that does nothing but answer: a submit with an id, a look with how that job stands, an
 * image's address with one. It counts what is asked of it, so that nobody has to ask the gateway.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answer } from '../remote.ts'

export type News = 'processing' | 'failed'

/** A PNG's first bytes, 64 × 64. */
const IMAGE = Buffer.from('89504e470d0a1a0a0000000d4948445200000040000000400802000000', 'hex')
const LOOK = /^\/api\/v3\/predictions\/([^/]+)\/result$/

let submits = 0
let looks = 0
/** What is left to tell, with so many looks between, the next at that look. */
let news: { status: News; left: number; every: number; from: number } | null = null
const atWork = new Set<string>()
const server = createServer(reply)
const listening = once(server.listen(0, '127.0.0.1', 1024), 'listening')

async function reply(request: IncomingMessage, response: ServerResponse) {
  for await (const _ of request);
  const url = request.url ?? ''
  if (url.startsWith('/image')) return response.end(IMAGE)
  const id = LOOK.exec(url)?.[1]
  const data = id === undefined ? other(url) : { id, status: standing(id), outputs: [] }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ code: 200, message: 'success', data }))
}

function other(url: string) {
  if (url.endsWith('/predictions')) return { items: [] }
  submits++
  return { id: `sent-${process.pid}-${submits}`, status: 'created', outputs: [] }
}

function standing(id: string): 'created' | News {
  looks++
  if (news === null || looks < news.from || !isDue(id, news)) return 'created'
  const { status } = news
  news.from = looks + news.every
  if (--news.left === 0) news = null
  if (status === 'processing') atWork.add(id)
  else atWork.delete(id)
  return status
}

/** What is at work ends first; among 10,000 it would take long to come by. */
const isDue = (
  id: string,
  { status, from, every }: { status: News; from: number; every: number },
): boolean => (status === 'processing' ? !atWork.has(id) : atWork.has(id) || looks >= from + every)

const commands = {
  async address() {
    await listening
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  counts: () => ({ submits, looks, untold: news?.left ?? 0 }),
  /** So many of the jobs that are looked at next, whichever they are, are at work or have failed. */
  tell(status: News, jobs: number, every: number) {
    news = { status, left: jobs, every, from: looks + every }
  },
}

export type UpstreamCommands = typeof commands
answer(commands)
