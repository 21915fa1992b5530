/**
 * What upstream says, as far as it can be believed: one schema over every form its answers take.
 * Invariant: nothing a prediction says can make the parse fail. A status nobody knows means "keep waiting";
 * a paid job is never failed on a word we do not know.
 */
import { z } from 'zod'
import type { Observation } from '../domain/prediction.ts'
import { isWebUrl } from '../domain/web-url.ts'
import { CODE_MAP, STATUS_MAP } from './status-tables.ts'

const envelopeSchema = z
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
export function readEnvelope(body: string): z.output<typeof envelopeSchema> {
  try {
    return envelopeSchema.parse(JSON.parse(body))
  } catch {
    return envelopeSchema.parse(null)
  }
}

const webUrlSchema = z.string().refine(isWebUrl)
const outputSchema = z
  .union([webUrlSchema, z.object({ url: webUrlSchema }).transform(({ url }) => url)])
  .nullable()
  .catch(null)
/** More than any job has; the rest is not read. */
const MAX_OUTPUTS = 100
/** A list, or one alone. */
const outputsSchema = z
  .preprocess(value => (Array.isArray(value) ? value.slice(0, MAX_OUTPUTS) : [value]), z.array(outputSchema))
  .catch([])
/** Max items of a list page that upstream allows; each page is requested with this many. */
export const MAX_LIST_ITEMS = 100
/** What fits a GraphQL Int, some 24 days. */
const millisecondsSchema = z.number().min(0).max(2_147_483_647).transform(Math.round).nullable().catch(null)
/** `""` is none; an object has a `message`. Upstream's own words: for no app and no log. */
const errorMessageSchema = z
  .union([z.string(), z.object({ message: z.string() }).transform(({ message }) => message)])
  .transform(text => text || null)
  .nullable()
  .catch(null)
/** RFC 3339 with nanoseconds. */
const timestampSchema = z.string().transform(Date.parse).refine(Number.isFinite).nullable().catch(null)
/** The parameters of its submit. Not every answer has them, and no page says under which name. */
const inputsSchema = z.custom<Record<string, unknown>>(isObject).nullable().catch(null)
const businessCodeSchema = z.coerce.number().int().nullable().catch(null)

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether an id can stand in a path: dots alone would lead elsewhere. */
export const isPathSegment = (id: string): boolean => /^(?!\.+$)[\w.:~-]{1,200}$/.test(id)

/** A prediction. Every field may be missing or nonsense: its `catch` says what it is then. */
export const predictionSchema = z
  .object({
    id: z.string().trim().catch(''),
    model: z.string().nullable().catch(null),
    input: inputsSchema,
    inputs: inputsSchema,
    status: z
      .string()
      .transform(status => status.trim().toLowerCase())
      .catch(''),
    outputs: outputsSchema,
    has_nsfw_contents: z.array(z.boolean().nullable().catch(null)).catch([]),
    code: businessCodeSchema,
    error: errorMessageSchema,
    created_at: timestampSchema,
    timings: z.object({ inference: millisecondsSchema }).catch({ inference: null }),
    executionTime: millisecondsSchema,
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
export type UpstreamPrediction = NonNullable<z.output<typeof predictionSchema>>

/** What a page of the list has; null if it is none, has more than one may ask for, or one of its items is nothing. */
export function parseListItems(data: unknown): UpstreamPrediction[] | null {
  if (isObject(data) && Array.isArray(data.items) && data.items.length > MAX_LIST_ITEMS) return null
  const parsed = listPageSchema.safeParse(data)
  return parsed.success ? parsed.data.items : null
}
const listPageSchema = z.object({ items: z.array(predictionSchema.refine(item => item !== null)) })

/** What an upstream prediction says of a job. */
export function toUpstreamState({ status, outputs, code, inferenceMs }: UpstreamPrediction): Observation {
  const mappedStatus = Object.hasOwn(STATUS_MAP, status) ? STATUS_MAP[status]! : 'waiting'
  switch (mappedStatus) {
    case 'completed':
      return { status: mappedStatus, outputs, inferenceMs }
    case 'failed':
      return {
        status: mappedStatus,
        error: (code !== null && CODE_MAP[code]) || 'GENERATION_FAILED',
        inferenceMs,
      }
    case 'timed out':
      return { status: 'failed', error: 'TIMED_OUT', inferenceMs }
    default:
      return { status: mappedStatus }
  }
}
