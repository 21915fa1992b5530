/**
 * What upstream says, as far as it can be believed: one schema over every form its answers take.
 * Invariant: nothing a prediction says can make the parse fail. A status nobody knows means "keep waiting";
 * a paid job is never failed on a word we do not know.
 */
import { z } from 'zod'
import type { PredictionErrorCode } from '../errors.ts'
import type { Observation } from '../prediction.ts'

/** `{code, message, data}` around every answer but a webhook's. Whether `data` makes sense is another question. */
export const envelope = z.object({
  code: z.number().catch(Number.NaN),
  message: z.string().catch(''),
  data: z.unknown(),
})

const isWebUrl = (text: string) => /^https?:$/.test(URL.parse(text)?.protocol ?? '')
const webUrl = z.string().refine(isWebUrl)
const output = z
  .union([webUrl, z.object({ url: webUrl }).transform(({ url }) => url)])
  .nullable()
  .catch(null)
const milliseconds = z.number().finite().nonnegative().transform(Math.round).nullable().catch(null)
/** `""` is none; an object has a `message`. Upstream's own words: for no app and no log. */
const words = z
  .union([z.string(), z.object({ message: z.string() }).transform(({ message }) => message)])
  .transform(text => text || null)
  .nullable()
  .catch(null)
/** RFC 3339 with nanoseconds. */
const moment = z.string().transform(Date.parse).refine(Number.isFinite).nullable().catch(null)
const businessCode = z.coerce.number().int().nullable().catch(null)

/** A prediction; `id` is empty where there was none to read. */
export const prediction = z
  .object({
    id: z.string().trim().max(200).catch(''),
    status: z
      .string()
      .transform(status => status.trim().toLowerCase())
      .catch(''),
    outputs: z.array(output).catch([]),
    has_nsfw_contents: z.array(z.boolean().nullable().catch(null)).catch([]),
    code: businessCode.default(null),
    error: words.default(null),
    created_at: moment.default(null),
    timings: z
      .object({ inference: milliseconds.default(null) })
      .catch({ inference: null })
      .default({ inference: null }),
    executionTime: milliseconds.default(null),
  })
  .partial({ id: true, status: true, outputs: true, has_nsfw_contents: true })
  .transform(({ id = '', status = '', outputs = [], has_nsfw_contents: nsfw = [], ...rest }) => ({
    id,
    status,
    code: rest.code,
    error: rest.error,
    createdAt: rest.created_at,
    inferenceMs: rest.timings.inference || rest.executionTime || null,
    outputs: outputs.flatMap((url, i) => (url === null ? [] : [{ url, hasNsfwContent: nsfw[i] ?? null }])),
  }))
  .nullable()
  .catch(null)
export type UpstreamPrediction = NonNullable<z.output<typeof prediction>>

const BY_CODE: Readonly<Record<number, PredictionErrorCode>> = {
  1200: 'CONTENT_REJECTED',
  1400: 'INVALID_INPUT',
  1401: 'INVALID_INPUT',
  1402: 'IMAGE_UNREACHABLE',
  5000: 'UPSTREAM_UNAVAILABLE',
  5003: 'UPSTREAM_UNAVAILABLE',
  5004: 'TIMED_OUT',
}

/** What an upstream prediction says of a job. */
export function observe({ status, outputs, code, inferenceMs }: UpstreamPrediction): Observation {
  switch (status) {
    case 'processing':
    case 'starting':
    case 'running':
    case 'in_progress':
      return { status: 'processing' }
    case 'completed':
    case 'succeeded':
    case 'success':
      return { status: 'completed', outputs, inferenceMs }
    case 'failed':
      return { status: 'failed', error: (code !== null && BY_CODE[code]) || 'GENERATION_FAILED', inferenceMs }
    case 'timeout':
      return { status: 'failed', error: 'TIMED_OUT', inferenceMs }
    case 'cancelled':
    case 'canceled':
    case 'deleted':
      return { status: 'canceled' }
    default:
      return { status: 'waiting' }
  }
}
