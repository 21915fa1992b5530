/**
 * WaveSpeed's API v3 as the gateway uses it.
 * Invariant: the key goes to the base URL's host alone and no redirect is followed; a submit is one POST on a
 * connection of its own, for a kept-alive one may die with the request on it and leave the outcome unknown for nothing.
 */
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Input, Observation, SubmitOutcome } from '../domain/prediction.ts'
import type { UploadedImage } from '../domain/upload.ts'
import { Agent, request } from '../runtime/undici.ts'
import { toRequestBody, userSuppliedText } from './request-body.ts'
import {
  MAX_LIST_ITEMS,
  parseListItems,
  predictionSchema,
  readEnvelope,
  toUpstreamState,
} from './response-schemas.ts'
import { NO_CREDIT, REJECTED_UPLOAD_STATUSES } from './status-tables.ts'
import { isCreditError, parseRetryAfter, toSubmitOutcome } from './submit-outcome.ts'
import { parseTicket } from './upload-ticket.ts'

export interface Upstream {
  /**
   * Sends the job, once, and asks for a webhook at `webhook`. Never throws: whatever goes wrong has an outcome.
   * Null if `signal` aborted the wait: nothing is known and nothing may be written down.
   */
  submit(
    modelId: string,
    input: Input,
    signal: AbortSignal,
    webhook?: string | null,
  ): Promise<SubmitOutcome | null>
  /** Null: no answer that says anything of the job; ask again, after `retryAfterMs` if upstream named a time. */
  getResult(upstreamId: string, signal: AbortSignal): Promise<PollResponse>
  /**
   * All jobs of a model that were created in between by our clock, as far as upstream tells: one whose model or moment
   * it does not say is among them. Null if the list could not be read to its end, or the clocks not be compared.
   */
  list(modelId: string, from: number, to: number, signal: AbortSignal): Promise<ListedJob[] | null>
  /** Hands it an image, without the key but for the leave to do so. Never throws. */
  upload(
    image: Pick<UploadedImage, 'contentType' | 'bytes'>,
    data: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<UploadOutcome>
  /** Whether upstream can be read with this key: one page of the list, of one item, or else the balance. */
  probe(signal: AbortSignal): Promise<boolean>
  close(): Promise<void>
}

export type PollResponse =
  | { observation: Observation }
  | { observation: null; status: number | null; retryAfterMs: number | null }

/** `failed` says nothing of the image; `isOfImage`, where it may be this one alone that can't be stored. */
export type UploadOutcome =
  | { kind: 'handed'; url: string }
  | { kind: 'refused' }
  | { kind: 'failed'; retryAfterMs: number | null; reason: string; isImageSpecific: boolean }

/** A job in upstream's list; what it does not say is null. */
export interface ListedJob {
  upstreamId: string
  model: string | null
  createdAt: number | null
  input: Record<string, unknown> | null
}

export interface UpstreamOptions {
  baseUrl: string
  apiKey: string
  now?: () => number
  /** Timeout of a POST, ms. After it the outcome is unknown. */
  submitTimeoutMs: number
  /** Timeout of a read, ms. */
  readTimeoutMs: number
}

/** 25 MB over a slow line. */
export const UPLOAD_TIMEOUT_MS = 2 * 60_000
/** More than any answer of upstream's; what is longer is not read to its end. */
const MAX_RESPONSE_BYTES = 4 * 1024 * 1024
/** Reads at once, over kept-alive connections. */
const READ_CONNECTIONS = 128
/** Ours and upstream's clock may be so far apart, ms. Farther, and nothing is sure of what was created when. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000
/** A list that goes on is not read to its end, so nothing is sure. */
const MAX_LIST_PAGES = 50

export function createUpstream({
  baseUrl,
  apiKey,
  now = Date.now,
  submitTimeoutMs,
  readTimeoutMs,
}: UpstreamOptions): Upstream {
  // A stream that HTTP/2 refuses would be sent again by the transport itself.
  const common = { connect: { timeout: 10_000 }, allowH2: false, maxResponseSize: MAX_RESPONSE_BYTES }
  const submitAgent = new Agent({ ...common, pipelining: 0 })
  const readAgent = new Agent({ ...common, connections: READ_CONNECTIONS })
  const uploadAgent = new Agent({ ...common, pipelining: 0 })
  const headers = {
    authorization: `Bearer ${apiKey}`,
    'content-type': 'application/json',
    accept: 'application/json',
  }

  async function call(
    dispatcher: Dispatcher,
    method: 'GET' | 'POST',
    path: string,
    body: object | null,
    signal: AbortSignal,
  ) {
    const response = await request(dispatcher, `${baseUrl}/api/v3${path}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal,
    })
    const { 'retry-after': retryAfter, date } = response.headers
    return {
      status: response.statusCode,
      retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
      /** Upstream's clock less ours, ms; NaN if it does not tell. It tells whole seconds. */
      skew: Date.parse(String(date)) + 500 - now(),
      body: await response.body.text(),
    }
  }

  async function readListPage(
    pageNumber: number,
    modelId: string,
    from: number,
    to: number,
    signal: AbortSignal,
  ) {
    const window = { created_after: new Date(from).toISOString(), created_before: new Date(to).toISOString() }
    const requestBody = { page: pageNumber, page_size: MAX_LIST_ITEMS, model: modelId, ...window }
    const { ok, data, skew } = await read('POST', '/predictions', requestBody, signal)
    // By clocks that can't be compared one job could pass for another.
    const items = ok && Math.abs(skew) <= MAX_CLOCK_SKEW_MS ? parseListItems(data) : null
    return items?.map(item => ({ ...item, createdAt: item.createdAt && item.createdAt - skew })) ?? null
  }

  /** The answer's `data`, where HTTP and the envelope both call it a success. */
  async function read(method: 'GET' | 'POST', path: string, body: object | null, stop: AbortSignal) {
    try {
      const signal = AbortSignal.any([stop, AbortSignal.timeout(readTimeoutMs)])
      const response = await call(readAgent, method, path, body, signal)
      const { code, message, data } = readEnvelope(response.body)
      const ok = response.status === 200 && code === 200
      const { status, skew } = response
      return {
        ok,
        code,
        message,
        data,
        status,
        skew,
        retryAfterMs: parseRetryAfter(response.retryAfter, now()),
      }
    } catch {
      return { ...NO_RESPONSE, skew: Number.NaN }
    }
  }

  async function putFile(
    url: string,
    headers: Record<string, string>,
    data: AsyncIterable<Buffer>,
    stop: AbortSignal,
  ) {
    try {
      const signal = AbortSignal.any([stop, AbortSignal.timeout(UPLOAD_TIMEOUT_MS)])
      const body = Readable.from(data, { highWaterMark: 1 })
      const response = await request(uploadAgent, url, { method: 'PUT', headers, body, signal })
      await response.body.dump()
      return response.statusCode
    } catch {
      return null
    }
  }

  return {
    async submit(modelId, input, stop, webhook = null) {
      if (stop.aborted) return null
      const signal = AbortSignal.any([stop, AbortSignal.timeout(submitTimeoutMs)])
      try {
        const path = `/${modelId}${webhook === null ? '' : `?webhook=${encodeURIComponent(webhook)}`}`
        return toSubmitOutcome(
          await call(submitAgent, 'POST', path, toRequestBody(input), signal),
          now(),
          userSuppliedText(input),
        )
      } catch (error) {
        return stop.aborted ? null : toSubmitOutcome({ error }, now())
      }
    },

    async getResult(upstreamId, stop) {
      const response = await read('GET', `/predictions/${encodeURIComponent(upstreamId)}/result`, null, stop)
      const upstreamPrediction = response.ok ? predictionSchema.parse(response.data) : null
      // An answer about another job says nothing of this one.
      if (
        upstreamPrediction === null ||
        (upstreamPrediction.id !== '' && upstreamPrediction.id !== upstreamId)
      )
        return { observation: null, status: response.status, retryAfterMs: response.retryAfterMs }
      return { observation: toUpstreamState(upstreamPrediction) }
    },

    async list(modelId, from, to, stop) {
      const jobs: ListedJob[] = []
      for (let pageNumber = 1; pageNumber <= MAX_LIST_PAGES; pageNumber++) {
        const items = await readListPage(
          pageNumber,
          modelId,
          from - MAX_CLOCK_SKEW_MS,
          to + MAX_CLOCK_SKEW_MS,
          stop,
        )
        if (items === null) return null
        for (const { id, model, createdAt, input } of items)
          if ((model ?? modelId) === modelId && isWithin(createdAt, from, to))
            jobs.push({ upstreamId: id, model, createdAt, input })
        // Newest first: what follows is older still, should upstream not heed the window.
        if (
          items.length < MAX_LIST_ITEMS ||
          items.some(({ createdAt }) => createdAt !== null && createdAt < from)
        )
          return jobs
      }
      return null
    },

    async upload({ contentType, bytes }, data, stop) {
      const requestBody = {
        filename: `image.${contentType.slice('image/'.length)}`,
        size: bytes,
        content_type: contentType,
      }
      const { ok, code, message, status, retryAfterMs, ...response } = await read(
        'POST',
        '/media/uploads',
        requestBody,
        stop,
      )
      const failed = (reason: string, isImageSpecific = false): UploadOutcome => ({
        kind: 'failed',
        retryAfterMs,
        reason,
        isImageSpecific,
      })
      if (!ok) {
        const effectiveStatus = status === 200 ? code : (status ?? 0)
        const isAccountProblem = code === NO_CREDIT || isCreditError(message)
        return REJECTED_UPLOAD_STATUSES.has(effectiveStatus) && !isAccountProblem
          ? { kind: 'refused' }
          : failed(`TICKET_${effectiveStatus}`)
      }
      const ticket = parseTicket(response.data, baseUrl)
      if (ticket === null) return failed('TICKET_NOT_TRUSTED')
      const headers = { ...ticket.headers, 'content-length': `${bytes}` }
      const putStatus = await putFile(ticket.url, headers, data, stop)
      if (putStatus !== null && putStatus >= 200 && putStatus < 300)
        return { kind: 'handed', url: ticket.downloadUrl }
      // Where files are kept a 400 is also said of a ticket that is over, and of a line that was slow.
      return putStatus === 413 || putStatus === 422
        ? { kind: 'refused' }
        : failed(`PUT_${putStatus ?? 'BROKEN'}`, putStatus !== null && putStatus < 500)
    },

    async probe(stop) {
      // No vendor page says which keys may list; either read will do.
      const list = await read('POST', '/predictions', { page: 1, page_size: 1 }, stop)
      return list.ok || (await read('GET', '/balance', null, stop)).ok
    },

    async close() {
      await Promise.all([submitAgent, readAgent, uploadAgent].map(agent => agent.destroy()))
    },
  }
}

/** No answer came, or none to its end. */
const NO_RESPONSE = { ok: false, code: Number.NaN, message: '', data: null, status: null, retryAfterMs: null }

const isWithin = (moment: number | null, from: number, to: number): boolean =>
  moment === null || (moment >= from && moment <= to)
