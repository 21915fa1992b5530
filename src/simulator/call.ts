/**
 * A call of the API as it came in.
 */
import type { IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'

export interface ApiCall {
  method: string
  /** Below /api/v3, without its query. */
  path: string
  /** Parsed, or undefined where it was no JSON. */
  body: unknown
  /** Where the end of the job is to be announced. */
  webhook?: string
}

export interface Reply {
  status: number
  headers?: Record<string, string>
  body: object
}

/** Its body as it came. */
export interface ReceivedCall {
  call: ApiCall
  data: Buffer
}

export async function readCall(request: IncomingMessage, path: string, query: string): Promise<ReceivedCall> {
  const webhook = new URLSearchParams(query).get('webhook')
  const data = await buffer(request)
  const isText = request.method !== 'PUT' && !/^multipart\//.test(request.headers['content-type'] ?? '')
  const call = {
    method: request.method ?? '',
    path,
    body: isText ? parseJson(data.toString()) : undefined,
    ...(webhook !== null && { webhook }),
  }
  return { call, data }
}

/** The file of a form's field `file`; null where there is none. */
export async function parseFormFile(request: IncomingMessage, data: Buffer): Promise<File | null> {
  const headers = { 'content-type': request.headers['content-type'] ?? '' }
  const form = await new Response(new Uint8Array(data), { headers }).formData().catch(() => null)
  const file = form?.get('file')
  return file instanceof File ? file : null
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
