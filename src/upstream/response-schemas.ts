/**
 * What upstream says, as far as it can be believed: one schema over every form its answers take.
 * Invariant: nothing a prediction says can make the parse fail. A status nobody knows means "keep waiting";
 * a paid job is never failed on a word we do not know.
 */
import { z } from 'zod'
import type { Observation } from '../domain/prediction.ts'
import { isWebUrl } from '../domain/web-url.ts'
import { ERRORS, MEANINGS } from './status-tables.ts'

const envelope = z
  .object({
    code: z
      .union([
        z.number(),
        z
          .string()
          .regex(/^\d{1,9}$/)
          .transform(Number),
      ])
      .catch(Number.NaN),
    message: z.string().catch(''),
    data: z.unknown().optional(),
  })
  .catch({ code: Number.NaN, message: '', data: null })

/** `{code, message, data}`, around every answer but a webhook's. A body that is none has the code NaN. */
export function readEnvelope(body: string): z.output<typeof envelope> {
  try {
    return envelope.parse(JSON.parse(body))
  } catch {
    return envelope.parse(null)
  }
}

const webUrl = z.string().refine(isWebUrl)
const output = z
  .union([webUrl, z.object({ url: webUrl }).transform(({ url }) => url)])
  .nullable()
  .catch(null)
/** More than any job has; the rest is not read. */
const MOST_OUTPUTS = 100
/** A list, or one alone. */
const outputs = z
  .preprocess(given => (Array.isArray(given) ? given.slice(0, MOST_OUTPUTS) : [given]), z.array(output))
  .catch([])
/** What fits a GraphQL Int, some 24 days. */
const milliseconds = z.number().min(0).max(2_147_483_647).transform(Math.round).nullable().catch(null)
/** `""` is none; an object has a `message`. Upstream's own words: for no app and no log. */
const words = z
  .union([z.string(), z.object({ message: z.string() }).transform(({ message }) => message)])
  .transform(text => text || null)
  .nullable()
  .catch(null)
/** RFC 3339 with nanoseconds. */
const moment = z.string().transform(Date.parse).refine(Number.isFinite).nullable().catch(null)
/** The parameters of its submit. Not every answer has them, and no page says under which name. */
const inputs = z.custom<Record<string, unknown>>(isObject).nullable().catch(null)
const businessCode = z.coerce.number().int().nullable().catch(null)

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether an id can stand in a path: dots alone would lead elsewhere. */
export const isPathSegment = (id: string): boolean => /^(?!\.+$)[\w.:~-]{1,200}$/.test(id)

/** A prediction. Every field may be missing or nonsense: its `catch` says what it is then. */
export const prediction = z
  .object({
    id: z.string().trim().catch(''),
    model: z.string().nullable().catch(null),
    input: inputs,
    inputs,
    status: z
      .string()
      .transform(status => status.trim().toLowerCase())
      .catch(''),
    outputs,
    has_nsfw_contents: z.array(z.boolean().nullable().catch(null)).catch([]),
    code: businessCode,
    error: words,
    created_at: moment,
    timings: z.object({ inference: milliseconds }).catch({ inference: null }),
    executionTime: milliseconds,
  })
  .transform(
    ({
      outputs,
      has_nsfw_contents: nsfw,
      created_at: createdAt,
      input,
      inputs,
      timings,
      executionTime,
      ...rest
    }) => ({
      ...rest,
      createdAt,
      input: input ?? inputs,
      inferenceMs: timings.inference || executionTime || null,
      outputs: outputs.flatMap((url, i) => (url === null ? [] : [{ url, hasNsfwContent: nsfw[i] ?? null }])),
    }),
  )
  .nullable()
  .catch(null)
export type UpstreamPrediction = NonNullable<z.output<typeof prediction>>

/** What a page of the list has; null if it is none, has more than one may ask for, or one of its items is nothing. */
export function itemsOf(data: unknown): UpstreamPrediction[] | null {
  if (isObject(data) && Array.isArray(data.items) && data.items.length > MOST_ITEMS) return null
  const page = listPage.safeParse(data)
  return page.success ? page.data.items : null
}
const MOST_ITEMS = 100
const listPage = z.object({ items: z.array(prediction.refine(item => item !== null)) })

/** What an upstream prediction says of a job. */
export function observe({ status, outputs, code, inferenceMs }: UpstreamPrediction): Observation {
  const meaning = Object.hasOwn(MEANINGS, status) ? MEANINGS[status]! : 'waiting'
  switch (meaning) {
    case 'completed':
      return { status: meaning, outputs, inferenceMs }
    case 'failed':
      return { status: meaning, error: (code !== null && ERRORS[code]) || 'GENERATION_FAILED', inferenceMs }
    case 'timed out':
      return { status: 'failed', error: 'TIMED_OUT', inferenceMs }
    default:
      return { status: meaning }
  }
}
