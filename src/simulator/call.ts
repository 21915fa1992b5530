/**
 * A call of the API as it came in.
 */
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'

export interface Call {
  method: string
  /** Below /api/v3, without its query. */
  path: string
  /** Parsed, or undefined where it was no JSON. */
  body: unknown
  /** Where the end of the job is to be announced. */
  webhook?: string
}

export async function readCall(request: IncomingMessage, path: string, query: string): Promise<Call> {
  const webhook = new URLSearchParams(query).get('webhook')
  return {
    method: request.method ?? '',
    path,
    body: parsed(await text(request)),
    ...(webhook !== null && { webhook }),
  }
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
