/**
 * Schemas of upstream's responses, over every form they take.
 * Invariant: no field of a prediction can make the parse fail. An unknown status means "keep waiting"; a paid
 * job is never failed because of an unknown word.
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

/** `{code, message, data}`, around every response but a webhook. An invalid body has the code NaN. */
export function readEnvelope(body: string): z.output<typeof envelopeSchema> {
  try {
    return envelopeSchema.parse(JSON.parse(body))
  } catch {
    return envelopeSchema.parse(null)
  }
}

/** An output that is there, and that no browser could load. */
const UNREADABLE = Symbol('unreadable')

/**
 * A URL, an object with a `url`, or nothing. Browsers drop white space around a URL and escape it within; so does this,
 * because the job is paid.
 */
function readOutput(output: unknown): string | typeof UNREADABLE | null {
  const text = isObject(output) ? output.url : output
  if (output === undefined || text === null) return null
  if (typeof text !== 'string') return UNREADABLE
  if (text.trim() === '') return null
  const url = isWebUrl(text) ? text : URL.parse(text)?.href
  return url !== undefined && isWebUrl(url) ? url : UNREADABLE
}
const outputSchema = z.unknown().transform(readOutput)
/** Max outputs read per job, above any that upstream sends. */
const MAX_OUTPUTS = 100
/** A list, or a single output. */
const outputsSchema = z
  .preprocess(value => (Array.isArray(value) ? value.slice(0, MAX_OUTPUTS) : [value]), z.array(outputSchema))
  .catch([])
/** Max items of a list page that upstream allows; each page is requested with this many. */
export const MAX_LIST_ITEMS = 100
/** The range of a GraphQL Int: about 24 days. */
const millisecondsSchema = z.number().min(0).max(2_147_483_647).transform(Math.round).nullable().catch(null)
/** `""` means no error; an object has a `message`. Upstream's text: never shown to an app, never logged. */
const errorMessageSchema = z
  .union([z.string(), z.object({ message: z.string() }).transform(({ message }) => message)])
  .transform(text => text || null)
  .nullable()
  .catch(null)
/** RFC 3339 with nanoseconds. */
const timestampSchema = z.string().transform(Date.parse).refine(Number.isFinite).nullable().catch(null)
/** The parameters of the submit. Not every response has them, and the vendor does not document their name. */
const inputsSchema = z.custom<Record<string, unknown>>(isObject).nullable().catch(null)
const businessCodeSchema = z.coerce.number().int().nullable().catch(null)

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether an id is safe as a path segment: dots alone would lead to another path. */
export const isPathSegment = (id: string): boolean => /^(?!\.+$)[\w.:~-]{1,200}$/.test(id)

/** A prediction. Every field may be missing or invalid; its `catch` gives the default. */
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
      outputs: outputs.flatMap((url, i) =>
        typeof url === 'string' ? [{ url, hasNsfwContent: nsfw[i] ?? null }] : [],
      ),
      unreadableOutputs: outputs.filter(url => url === UNREADABLE).length,
    }),
  )
  .nullable()
  .catch(null)
export type UpstreamPrediction = NonNullable<z.output<typeof predictionSchema>>

/**
 * The items of a list page. Null if the page is invalid, has more items than can be requested, or has an
 * invalid item.
 */
export function parseListItems(data: unknown): UpstreamPrediction[] | null {
  if (isObject(data) && Array.isArray(data.items) && data.items.length > MAX_LIST_ITEMS) return null
  const parsed = listPageSchema.safeParse(data)
  return parsed.success ? parsed.data.items : null
}
const listPageSchema = z.object({ items: z.array(predictionSchema.refine(item => item !== null)) })

const balanceSchema = z
  .object({ balance: z.number() })
  .transform(({ balance }) => balance)
  .nullable()
  .catch(null)
/** The account's balance, USD; null if it is missing or invalid. */
export const parseBalance = (data: unknown): number | null => balanceSchema.parse(data)

/** Maps an upstream prediction to the job's state. */
export function toUpstreamState(prediction: UpstreamPrediction): Observation {
  const { status, outputs, unreadableOutputs, code, inferenceMs } = prediction
  const mappedStatus = Object.hasOwn(STATUS_MAP, status) ? STATUS_MAP[status]! : 'waiting'
  switch (mappedStatus) {
    case 'completed':
      return {
        status: mappedStatus,
        outputs,
        ...(unreadableOutputs > 0 && { unreadableOutputs }),
        inferenceMs,
      }
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
