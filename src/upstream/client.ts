/**
 * WaveSpeed's API v3 as the gateway uses it.
 * Invariant: the API key goes only to the base URL's host, and no redirect is followed. A submit is one POST
 * on its own connection: a kept-alive connection may die with the request on it and leave the outcome
 * unknown.
 */
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { PredictionErrorCode } from '../domain/errors.ts'
import { MICROS_PER_USD, MODELS } from '../domain/models.ts'
import type { Input, Observation, SubmitOutcome } from '../domain/prediction.ts'
import { MINUTE_MS } from '../domain/time.ts'
import type { UploadedImage } from '../domain/upload.ts'
import { type Clocks, startStopwatch } from '../runtime/clocks.ts'
import { withRunningTimeout } from '../runtime/running-timeout.ts'
import { Agent, buildConnector, Client, request } from '../runtime/undici.ts'
import { toRequestBody, userSuppliedText } from './request-body.ts'
import {
  MAX_LIST_ITEMS,
  parseBalance,
  parseListItems,
  predictionSchema,
  readEnvelope,
  toUpstreamState,
} from './response-schemas.ts'
import { readResponseText } from './response-text.ts'
import { parseRetryAfter } from './retry-after.ts'
import { NO_CREDIT, REJECTED_UPLOAD_STATUSES } from './status-tables.ts'
import { findCreditError, type SubmitResponse, toSubmitOutcome } from './submit-outcome.ts'
import { parseTicket } from './upload-ticket.ts'

export interface Upstream {
  /**
   * Sends the job once, and passes `webhook` as its webhook URL. Never throws: every failure has an outcome.
   * Null if `signal` aborted the wait: the outcome is not known and nothing may be written.
   */
  submit(
    modelId: string,
    input: Input,
    signal: AbortSignal,
    webhook?: string | null,
  ): Promise<SubmitOutcome | null>
  /**
   * `observation` is null if the response says nothing about the job: poll again, after `retryAfterMs` if
   * upstream sent one.
   */
  getResult(upstreamId: string, signal: AbortSignal): Promise<PollResponse>
  /**
   * All jobs of a model created between `from` and `to` by our clock, including jobs whose model or creation
   * time upstream does not give. Null if the list could not be read to its end, or if the clocks differ too
   * much to compare.
   */
  list(modelId: string, from: number, to: number, signal: AbortSignal): Promise<ListedJob[] | null>
  /**
   * Uploads an image: one authenticated request for a ticket, then a PUT without the API key. Never throws.
   */
  upload(
    image: Pick<UploadedImage, 'contentType' | 'bytes'>,
    data: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<UploadOutcome>
  /**
   * Whether upstream accepts reads with this key: one page of the list with one item, or else the balance.
   */
  probe(signal: AbortSignal): Promise<boolean>
  close(): Promise<void>
}

export type PollResponse =
  | { observation: Observation }
  | { observation: null; status: number | null; retryAfterMs: number | null }

/** `failed` says nothing about the image. `isImageSpecific`: perhaps only this image cannot be stored. */
export type UploadOutcome =
  | { kind: 'stored'; url: string }
  | { kind: 'rejected' }
  | { kind: 'failed'; retryAfterMs: number | null; reason: string; isImageSpecific: boolean }

/** A job in upstream's list; a field that upstream does not give is null. */
export interface ListedJob {
  upstreamId: string
  model: string | null
  createdAt: number | null
  input: Record<string, unknown> | null
  /** Why it failed; null if it has not. */
  error: PredictionErrorCode | null
}

export interface UpstreamOptions {
  baseUrl: string
  apiKey: string
  clocks: Clocks
  /** Timeout of a POST, ms. After it the outcome is unknown, unless no connection was established. */
  submitTimeoutMs: number
  /** Timeout of a read, ms. */
  readTimeoutMs: number
}

/** Enough for 25 MB over a slow connection. */
export const UPLOAD_TIMEOUT_MS = 2 * MINUTE_MS
/** Max bytes of a page of the list, above any that upstream sends. A longer response is not read to its end. */
const MAX_LIST_BYTES = 4 * 1024 * 1024
/** Max bytes of any other response. One prediction has 1 to 2 KB; 128 are read at once. */
const MAX_RESPONSE_BYTES = 512 * 1024
/** Max time to establish a connection, ms. */
const CONNECT_TIMEOUT_MS = 10_000
/** Max concurrent reads, on kept-alive connections. */
const READ_CONNECTIONS = 128
/** Max difference between our clock and upstream's, ms. Above it, no creation time is reliable. */
const MAX_CLOCK_SKEW_MS = 5 * MINUTE_MS
/** Max pages read. A longer list is treated as unreadable. */
const MAX_LIST_PAGES = 50

export function createUpstream({
  baseUrl,
  apiKey,
  clocks,
  submitTimeoutMs,
  readTimeoutMs,
}: UpstreamOptions): Upstream {
  const now = clocks.wall
  // undici would send a stream that HTTP/2 refuses again by itself. Every call has its own timeout, which counts only
  // the time in which this process ran.
  const common = { allowH2: false, headersTimeout: 0, bodyTimeout: 0 }
  /** Shared by all submits, so that they resume TLS sessions. */
  const connectSubmit = buildConnector({ timeout: CONNECT_TIMEOUT_MS, allowH2: false })
  const submitting = new Set<Dispatcher>()
  let isClosed = false
  const connect = { timeout: CONNECT_TIMEOUT_MS }
  const readAgent = new Agent({ ...common, connect, connections: READ_CONNECTIONS })
  const uploadAgent = new Agent({ ...common, connect, pipelining: 0 })
  const headers = {
    authorization: `Bearer ${apiKey}`,
    'content-type': 'application/json',
    accept: 'application/json',
    'accept-encoding': 'identity',
  }

  async function call(
    dispatcher: Dispatcher,
    method: 'GET' | 'POST',
    path: string,
    body: object | null,
    signal: AbortSignal,
    maxBytes = MAX_RESPONSE_BYTES,
  ) {
    const response = await request(dispatcher, `${baseUrl}/api/v3${path}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal,
    })
    const { 'retry-after': retryAfter, date, 'content-encoding': contentEncoding } = response.headers
    return {
      status: response.statusCode,
      retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
      /** Upstream's clock minus ours, ms; NaN without a Date header, which has whole seconds. */
      skewMs: Date.parse(String(date)) + 500 - now(),
      body: await readResponseText(response.body, String(contentEncoding ?? ''), maxBytes),
    }
  }

  /**
   * Sends one POST on a connection of its own. If it fails, the result says whether the connection was ever established:
   * without one not a byte of the request was sent, whatever the error.
   */
  async function postOnce(path: string, body: object, signal: AbortSignal): Promise<SubmitResponse> {
    if (isClosed) return { failed: 'unsent' }
    let isConnected = false
    let isOver = false
    const elapsedMs = startStopwatch(clocks)
    const dispatcher = new Client(new URL(baseUrl).origin, {
      ...common,
      pipelining: 0,
      connect: (options, callback) =>
        void connectSubmit(options, (...result) => {
          const [error, socket] = result
          if (error !== null) return callback(error, null)
          // If the machine slept meanwhile, the job would be created after the time in which it is searched for.
          if (isOver || elapsedMs() > submitTimeoutMs / 2) {
            socket.destroy()
            return callback(new Error('the connection was established too late; nothing was sent'), null)
          }
          isConnected = true
          callback(null, socket)
        }),
    })
    submitting.add(dispatcher)
    // undici lets a request that waits for its connection wait on, though its signal has aborted.
    const endConnecting = () => void dispatcher.destroy().catch(() => {})
    signal.addEventListener('abort', endConnecting, { once: true })
    try {
      return await call(dispatcher, 'POST', path, body, signal)
    } catch {
      isOver = true
      return { failed: isConnected ? 'sent' : 'unsent' }
    } finally {
      submitting.delete(dispatcher)
      signal.removeEventListener('abort', endConnecting)
      endConnecting()
    }
  }

  /** Upstream rejects a list that asks for inputs, and answers one that does not. */
  let areInputsRefused = false

  async function readListPage(
    pageNumber: number,
    modelId: string,
    from: number,
    to: number,
    signal: AbortSignal,
  ) {
    const window = { created_after: new Date(from).toISOString(), created_before: new Date(to).toISOString() }
    const requestBody = { page: pageNumber, page_size: MAX_LIST_ITEMS, model: modelId, ...window }
    const readPage = (body: object) => read('POST', '/predictions', body, signal, MAX_LIST_BYTES)
    let page = await readPage(areInputsRefused ? requestBody : { ...requestBody, include_inputs: true })
    // The parameter is not documented.
    if (!areInputsRefused && (INVALID_REQUEST.has(page.status) || INVALID_REQUEST.has(page.code))) {
      page = await readPage(requestBody)
      areInputsRefused = page.ok
    }
    const { ok, data, skewMs } = page
    // If the clocks cannot be compared, another job could be taken for this one.
    const items = ok && Math.abs(skewMs) <= MAX_CLOCK_SKEW_MS ? parseListItems(data) : null
    return (
      items?.map(item => {
        const state = toUpstreamState(item)
        const error = state.status === 'failed' ? state.error : null
        return { ...item, error, createdAt: item.createdAt && item.createdAt - skewMs }
      }) ?? null
    )
  }

  /** The response's `data`, if both HTTP and the envelope report success. */
  async function read(
    method: 'GET' | 'POST',
    path: string,
    body: object | null,
    stop: AbortSignal,
    maxBytes?: number,
  ) {
    try {
      const response = await withRunningTimeout(stop, readTimeoutMs, signal =>
        call(readAgent, method, path, body, signal, maxBytes),
      )
      const { code, message, data } = readEnvelope(response.body)
      const ok = response.status === 200 && code === 200
      const { status, skewMs } = response
      return {
        ok,
        code,
        message,
        data,
        status,
        skewMs,
        retryAfterMs: parseRetryAfter(response.retryAfter, now()),
      }
    } catch {
      return { ...NO_RESPONSE, skewMs: Number.NaN }
    }
  }

  /** Whether upstream says that the account can't pay for a job of this model. False if it gives no balance. */
  async function isOutOfCredit(modelId: string, stop: AbortSignal): Promise<boolean> {
    const { ok, data } = await read('GET', '/balance', null, stop)
    const balance = ok ? parseBalance(data) : null
    const price = Object.values(MODELS).find(({ upstreamId }) => upstreamId === modelId)?.price ?? 0
    return balance !== null && balance * MICROS_PER_USD < price
  }

  async function putFile(
    url: string,
    headers: Record<string, string>,
    data: AsyncIterable<Buffer>,
    stop: AbortSignal,
  ) {
    try {
      const body = Readable.from(data, { highWaterMark: 1 })
      return await withRunningTimeout(stop, UPLOAD_TIMEOUT_MS, async signal => {
        const response = await request(uploadAgent, url, { method: 'PUT', headers, body, signal })
        await response.body.dump()
        return response.statusCode
      })
    } catch {
      return null
    }
  }

  return {
    async submit(modelId, input, stop, webhook = null) {
      if (stop.aborted) return null
      const path = `/${modelId}${webhook === null ? '' : `?webhook=${encodeURIComponent(webhook)}`}`
      const response = await withRunningTimeout(stop, submitTimeoutMs, signal =>
        postOnce(path, toRequestBody(input), signal),
      )
      if ('failed' in response && stop.aborted) return null
      const sent = { modelId, userSuppliedText: userSuppliedText(input) }
      const verdict = toSubmitOutcome(response, now(), sent)
      if (verdict.kind !== 'perhaps account') return verdict
      return (await isOutOfCredit(modelId, stop)) ? { kind: 'account' } : verdict.otherwise
    },

    async getResult(upstreamId, stop) {
      const response = await read('GET', `/predictions/${encodeURIComponent(upstreamId)}/result`, null, stop)
      const upstreamPrediction = response.ok ? predictionSchema.parse(response.data) : null
      // A response about another job says nothing about this one.
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
        for (const { id, model, createdAt, input, error } of items)
          if ((model ?? modelId) === modelId && isWithin(createdAt, from, to))
            jobs.push({ upstreamId: id, model, createdAt, input, error })
        // Newest first: later pages are older still, even if upstream ignores the time window.
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
        const isAccountProblem = code === NO_CREDIT || findCreditError(message) !== 'no'
        return REJECTED_UPLOAD_STATUSES.has(effectiveStatus) && !isAccountProblem
          ? { kind: 'rejected' }
          : failed(`TICKET_${effectiveStatus}`)
      }
      const ticket = parseTicket(response.data, baseUrl)
      if (ticket === null) return failed('TICKET_NOT_TRUSTED')
      const headers = { ...ticket.headers, 'content-length': `${bytes}` }
      const putStatus = await putFile(ticket.url, headers, data, stop)
      if (putStatus !== null && putStatus >= 200 && putStatus < 300)
        return { kind: 'stored', url: ticket.downloadUrl }
      // The storage host also answers 400 for an expired ticket and for a slow connection.
      return putStatus === 413 || putStatus === 422
        ? { kind: 'rejected' }
        : failed(`PUT_${putStatus ?? 'BROKEN'}`, putStatus !== null && putStatus < 500)
    },

    async probe(stop) {
      // The vendor does not document which keys may list; either read will do.
      const list = await read('POST', '/predictions', { page: 1, page_size: 1 }, stop)
      return list.ok || (await read('GET', '/balance', null, stop)).ok
    },

    async close() {
      isClosed = true
      await Promise.all([...submitting, readAgent, uploadAgent].map(dispatcher => dispatcher.destroy()))
    },
  }
}

/** Statuses and codes of a request that upstream rejects for its content. */
const INVALID_REQUEST: ReadonlySet<number | null> = new Set([400, 422])

/** No response came, or not to its end. */
const NO_RESPONSE = { ok: false, code: Number.NaN, message: '', data: null, status: null, retryAfterMs: null }

const isWithin = (moment: number | null, from: number, to: number): boolean =>
  moment === null || (moment >= from && moment <= to)
