/**
 * A refusal is data: one type a reason, each an `Error`. Code, message and retryable come from the one table.
 */
import type { z } from 'zod'
import { REFUSALS, type RefusalCode } from '../domain/errors.ts'
import type { Prediction } from '../domain/prediction.ts'
import { builder } from './builder.ts'
import { Cost } from './cost.ts'
import { PredictionType } from './prediction.ts'

export interface Issue {
  /** Where in the mutation's arguments, from the outside in. */
  path: string[]
  message: string
}

/** Code → what its refusal carries besides. */
interface Details {
  INVALID_INPUT: { issues: Issue[] }
  IDEMPOTENCY_CONFLICT: { prediction: Prediction }
  RATE_LIMITED: { retryAfterMs: number }
  QUEUE_FULL: object
  /** Micro-USD. */
  BUDGET_EXCEEDED: { budget: number; spent: number }
  NOT_FOUND: object
  FORBIDDEN: object
  ALREADY_FINISHED: { prediction: Prediction }
}
export type RefusalOf<Code extends RefusalCode> = { [Each in Code]: { code: Each } & Details[Each] }[Code]
export type Refusal = RefusalOf<RefusalCode>

const ErrorInterface = builder.interfaceRef<{ code: RefusalCode }>('Error').implement({
  description: 'Why something was refused.',
  fields: t => ({
    code: t.exposeString('code'),
    message: t.string({ resolve: ({ code }) => REFUSALS[code].message }),
    retryable: t.boolean({
      description: 'Whether the same request may succeed later, unchanged.',
      resolve: ({ code }) => REFUSALS[code].retryable,
    }),
  }),
})

const common = <Code extends RefusalCode>(code: Code) => ({
  interfaces: [ErrorInterface],
  description: `${code}. ${REFUSALS[code].remedy}`,
})

const InputIssue = builder.objectRef<Issue>('InputIssue').implement({
  fields: t => ({ path: t.exposeStringList('path'), message: t.exposeString('message') }),
})

/** Of a mutation's `input`: all at once, each with its path. */
export const issuesOf = ({ issues }: z.ZodError): Issue[] =>
  issues.map(({ path, message }) => ({ path: ['input', ...path.map(String)], message }))

/** Code → its type. */
export const refusals = {
  INVALID_INPUT: builder.objectRef<RefusalOf<'INVALID_INPUT'>>('InvalidInputError').implement({
    ...common('INVALID_INPUT'),
    fields: t => ({ issues: t.expose('issues', { type: [InputIssue] }) }),
  }),
  IDEMPOTENCY_CONFLICT: builder
    .objectRef<RefusalOf<'IDEMPOTENCY_CONFLICT'>>('IdempotencyConflictError')
    .implement({
      ...common('IDEMPOTENCY_CONFLICT'),
      fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }),
    }),
  RATE_LIMITED: builder.objectRef<RefusalOf<'RATE_LIMITED'>>('RateLimitedError').implement({
    ...common('RATE_LIMITED'),
    fields: t => ({ retryAfterMs: t.exposeInt('retryAfterMs') }),
  }),
  QUEUE_FULL: builder.objectRef<RefusalOf<'QUEUE_FULL'>>('QueueFullError').implement(common('QUEUE_FULL')),
  BUDGET_EXCEEDED: builder.objectRef<RefusalOf<'BUDGET_EXCEEDED'>>('BudgetExceededError').implement({
    ...common('BUDGET_EXCEEDED'),
    fields: t => ({ budget: t.expose('budget', { type: Cost }), spent: t.expose('spent', { type: Cost }) }),
  }),
  NOT_FOUND: builder.objectRef<RefusalOf<'NOT_FOUND'>>('NotFoundError').implement(common('NOT_FOUND')),
  FORBIDDEN: builder.objectRef<RefusalOf<'FORBIDDEN'>>('ForbiddenError').implement(common('FORBIDDEN')),
  ALREADY_FINISHED: builder.objectRef<RefusalOf<'ALREADY_FINISHED'>>('AlreadyFinishedError').implement({
    ...common('ALREADY_FINISHED'),
    fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }),
  }),
} satisfies Record<RefusalCode, unknown>
