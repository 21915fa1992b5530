/**
 * Mutation errors are data: one type per code, each an `Error`. Code, message and retryable come from
 * MUTATION_ERRORS.
 */
import type { z } from 'zod'
import { MUTATION_ERRORS, type MutationErrorCode } from '../domain/errors.ts'
import type { Prediction } from '../domain/prediction.ts'
import { builder } from './builder.ts'
import { Cost } from './cost.ts'
import { PredictionType } from './prediction.ts'

export interface InputIssue {
  /** Path in the mutation's arguments, outermost first. */
  path: string[]
  message: string
}

/** Code to the fields that its error has besides. */
interface MutationErrorDetails {
  INVALID_INPUT: { issues: InputIssue[] }
  IDEMPOTENCY_CONFLICT: { prediction: Prediction }
  RATE_LIMITED: { retryAfterMs: number }
  QUEUE_FULL: object
  /** Micro-USD. */
  BUDGET_EXCEEDED: { budget: number; spent: number }
  NOT_FOUND: object
  FORBIDDEN: object
  ALREADY_FINISHED: { prediction: Prediction }
}
export type MutationErrorOf<Code extends MutationErrorCode> = {
  [Each in Code]: { code: Each } & MutationErrorDetails[Each]
}[Code]
export type MutationError = MutationErrorOf<MutationErrorCode>

const ErrorInterface = builder.interfaceRef<{ code: MutationErrorCode }>('Error').implement({
  description: 'Why something was refused.',
  fields: t => ({
    code: t.exposeString('code'),
    message: t.string({ resolve: ({ code }) => MUTATION_ERRORS[code].message }),
    retryable: t.boolean({
      description: 'Whether the same request may succeed later, unchanged.',
      resolve: ({ code }) => MUTATION_ERRORS[code].retryable,
    }),
  }),
})

const commonOptions = <Code extends MutationErrorCode>(code: Code) => ({
  interfaces: [ErrorInterface],
  description: `${code}. ${MUTATION_ERRORS[code].remedy}`,
})

const InputIssue = builder.objectRef<InputIssue>('InputIssue').implement({
  fields: t => ({ path: t.exposeStringList('path'), message: t.exposeString('message') }),
})

/** All issues of a mutation's `input` at once, each with its path. */
export const toInputIssues = ({ issues }: z.ZodError): InputIssue[] =>
  issues.map(({ path, message }) => ({ path: ['input', ...path.map(String)], message }))

/** Code to GraphQL type. */
export const mutationErrorTypes = {
  INVALID_INPUT: builder.objectRef<MutationErrorOf<'INVALID_INPUT'>>('InvalidInputError').implement({
    ...commonOptions('INVALID_INPUT'),
    fields: t => ({ issues: t.expose('issues', { type: [InputIssue] }) }),
  }),
  IDEMPOTENCY_CONFLICT: builder
    .objectRef<MutationErrorOf<'IDEMPOTENCY_CONFLICT'>>('IdempotencyConflictError')
    .implement({
      ...commonOptions('IDEMPOTENCY_CONFLICT'),
      fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }),
    }),
  RATE_LIMITED: builder.objectRef<MutationErrorOf<'RATE_LIMITED'>>('RateLimitedError').implement({
    ...commonOptions('RATE_LIMITED'),
    fields: t => ({ retryAfterMs: t.exposeInt('retryAfterMs') }),
  }),
  QUEUE_FULL: builder
    .objectRef<MutationErrorOf<'QUEUE_FULL'>>('QueueFullError')
    .implement(commonOptions('QUEUE_FULL')),
  BUDGET_EXCEEDED: builder.objectRef<MutationErrorOf<'BUDGET_EXCEEDED'>>('BudgetExceededError').implement({
    ...commonOptions('BUDGET_EXCEEDED'),
    fields: t => ({ budget: t.expose('budget', { type: Cost }), spent: t.expose('spent', { type: Cost }) }),
  }),
  NOT_FOUND: builder
    .objectRef<MutationErrorOf<'NOT_FOUND'>>('NotFoundError')
    .implement(commonOptions('NOT_FOUND')),
  FORBIDDEN: builder
    .objectRef<MutationErrorOf<'FORBIDDEN'>>('ForbiddenError')
    .implement(commonOptions('FORBIDDEN')),
  ALREADY_FINISHED: builder.objectRef<MutationErrorOf<'ALREADY_FINISHED'>>('AlreadyFinishedError').implement({
    ...commonOptions('ALREADY_FINISHED'),
    fields: t => ({ prediction: t.expose('prediction', { type: PredictionType }) }),
  }),
} satisfies Record<MutationErrorCode, unknown>

/** `resolveType` of a mutation's result union: an error has a code, the payload has none. */
export const resolveResultType =
  <Payload>(payload: Payload) =>
  (result: object) =>
    'code' in result ? mutationErrorTypes[result.code as MutationErrorCode] : payload
