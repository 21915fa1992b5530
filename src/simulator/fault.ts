/**
 * What can go wrong with one call, and doing it.
 * Invariant: what happens `before` leaves no job. Everything else has made one, as upstream would charge it.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Reply } from './call.ts'

type FaultPoint = 'before' | 'amid' | 'after'

export type Fault =
  /** An answer of another's making; `after`: beside it the call took effect. */
  | { status: number; body: string; headers?: Record<string, string>; after?: boolean }
  /** The connection is cut, or left hanging: before the call took effect, after, or in the middle of the answer. */
  | { cut: FaultPoint }
  | { stall: FaultPoint }
  /** The right answer, so much later: the call takes effect before the wait or after it, whoever has hung up by then. */
  | { late: 'before' | 'after'; ms: number }
  /** The right answer, once the job's webhook was sent. */
  | { heldUntil: 'announced' }
  /** The right answer's text, rewritten. */
  | { rewrite: (body: string) => string }

export interface FaultContext {
  response: ServerResponse
  /** Has the call take effect. */
  takeEffect: () => Reply
  whenSent: (id: string) => Promise<void>
  /** The simulator closes. */
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
  const when = 'cut' in fault ? fault.cut : fault.stall
  if (when !== 'before') {
    const reply = takeEffect()
    if (when === 'amid') await sendHalf(response, reply)
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
