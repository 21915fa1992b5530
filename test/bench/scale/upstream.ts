/**
 * The process of a minimal upstream: it answers a submit with an id, a poll with the job's status, and an image URL
 * with an image. It counts submits and polls, so that the gateway need not be asked.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serveCommands } from '../process-rpc.ts'

export type ReportedStatus = 'processing' | 'failed'

/** The first bytes of a PNG, 64 × 64. */
const IMAGE = Buffer.from('89504e470d0a1a0a0000000d4948445200000040000000400802000000', 'hex')
const RESULT_PATH = /^\/api\/v3\/predictions\/([^/]+)\/result$/

let submits = 0
let polls = 0
/** The status to report to `left` more polls: the next at poll `nextPoll`, then every `every` polls. */
let pendingReport: { status: ReportedStatus; left: number; every: number; nextPoll: number } | null = null
const processingIds = new Set<string>()
const server = createServer(reply)
const listening = once(server.listen(0, '127.0.0.1', 1024), 'listening')

async function reply(request: IncomingMessage, response: ServerResponse) {
  for await (const _ of request);
  const url = request.url ?? ''
  if (url.startsWith('/image')) return response.end(IMAGE)
  const id = RESULT_PATH.exec(url)?.[1]
  const data = id === undefined ? handleOther(url) : { id, status: nextStatus(id), outputs: [] }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ code: 200, message: 'success', data }))
}

function handleOther(url: string) {
  if (url.endsWith('/predictions')) return { items: [] }
  submits++
  return { id: `sent-${process.pid}-${submits}`, status: 'created', outputs: [] }
}

function nextStatus(id: string): 'created' | ReportedStatus {
  polls++
  if (pendingReport === null || polls < pendingReport.nextPoll || !isDue(id, pendingReport)) return 'created'
  const { status } = pendingReport
  pendingReport.nextPoll = polls + pendingReport.every
  if (--pendingReport.left === 0) pendingReport = null
  if (status === 'processing') processingIds.add(id)
  else processingIds.delete(id)
  return status
}

/**
 * A processing job ends first. Among 10,000 jobs its next poll may be far off, so any job ends after a while.
 */
const isDue = (
  id: string,
  { status, nextPoll, every }: { status: ReportedStatus; nextPoll: number; every: number },
): boolean =>
  status === 'processing' ? !processingIds.has(id) : processingIds.has(id) || polls >= nextPoll + every

const commands = {
  async address() {
    await listening
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  },
  counts: () => ({ submits, polls, unreported: pendingReport?.left ?? 0 }),
  /** Reports the status to `jobs` of the next polls, whichever jobs they are of. */
  report(status: ReportedStatus, jobs: number, every: number) {
    pendingReport = { status, left: jobs, every, nextPoll: polls + every }
  },
}

export type UpstreamCommands = typeof commands
serveCommands(commands)
