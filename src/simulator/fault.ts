/**
 * Faults of a call, and how they are applied.
 * Invariant: a fault `before` leaves no job. Every other fault creates one, as upstream would charge it.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { Reply } from './call.ts'

type FaultPoint = 'before' | 'amid' | 'after'

export type Fault =
  /** Sends another response. `after`: the call takes effect as well. */
  | { status: number; body: string; headers?: Record<string, string>; after?: boolean }
  /** Cuts the connection, or leaves it hanging: before the call takes effect, after it, or in the middle of the response. */
  | { cut: FaultPoint }
  | { stall: FaultPoint }
  /** Delays the right response. The call takes effect after or before the delay, even if the client has hung up. */
  | { late: 'before' | 'after'; ms: number }
  /** Sends the right response after the job's webhook was sent. */
  | { heldUntil: 'announced' }
  /** Compresses the right response, though nobody has asked for it. */
  | { encoding: 'gzip' }
  /** Rewrites the text of the right response. */
  | { rewrite: (body: string) => string }

export interface FaultContext {
  response: ServerResponse
  /** Makes the call take effect. */
  takeEffect: () => Reply
  whenSent: (id: string) => Promise<void>
  /** Aborts when the simulator closes. */
  signal: AbortSignal
}

export async function applyFault(
  fault: Fault,
  { response, takeEffect, whenSent, signal }: FaultContext,
): Promise<void> {
  if ('status' in fault) {
    if (fault.after) takeEffect()
    return void response.writeHead(fault.status, fault.headers).end(fault.body)
  }
  if ('encoding' in fault) {
    const { status, headers, body } = takeEffect()
    const encodingHeaders = {
      ...headers,
      'content-type': 'application/json',
      'content-encoding': fault.encoding,
    }
    return void response.writeHead(status, encodingHeaders).end(gzipSync(JSON.stringify(body)))
  }
  if ('rewrite' in fault) return send(response, takeEffect(), fault.rewrite)
  if ('late' in fault) {
    if (fault.late === 'before') await delay(fault.ms, undefined, { signal })
    const reply = takeEffect()
    if (fault.late === 'after') await delay(fault.ms, undefined, { signal })
    return send(response, reply)
  }
  if ('heldUntil' in fault) {
    const reply = takeEffect()
    const { data } = reply.body as { data?: { id?: string } | null }
    if (data?.id !== undefined) await whenSent(data.id)
    return send(response, reply)
  }
  const point = 'cut' in fault ? fault.cut : fault.stall
  if (point !== 'before') {
    const reply = takeEffect()
    if (point === 'amid') await sendHalf(response, reply)
  }
  if ('cut' in fault) response.destroy()
}

export function send(response: ServerResponse, reply: Reply, rewrite = (body: string) => body): void {
  const { status, headers, body } = reply
  response
    .writeHead(status, { 'content-type': 'application/json', ...headers })
    .end(rewrite(JSON.stringify(body)))
}

async function sendHalf(response: ServerResponse, { status, body }: Reply): Promise<void> {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  await new Promise(written => response.write(text.slice(0, text.length / 2), written))
}
