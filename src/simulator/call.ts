/**
 * Reads a call of the API, and the file of an upload form.
 */
import type { IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'

export interface ApiCall {
  method: string
  /** Path below /api/v3, without the query. */
  path: string
  /** Parsed JSON; undefined if the body is not JSON. */
  body: unknown
  /** URL for the webhook of the job's end. */
  webhook?: string
}

export interface Reply {
  status: number
  headers?: Record<string, string>
  body: object
}

/** A call and its raw body. */
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

/** Returns the file in a form's field `file`; null if it is missing. */
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
