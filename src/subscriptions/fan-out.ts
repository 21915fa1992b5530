/**
 * Fan-out of events: each event is executed and serialised once for all subscribers with the same operation,
 * and written to each in its own envelope. Live subscribers move together. A subscriber that is behind
 * catches up alone.
 * Invariant: a live subscriber has received every event up to `max(group.lastSeq, subscriber.lastSeq)`, so
 * each event is delivered once, in order.
 */
import { performance } from 'node:perf_hooks'
import {
  createSourceEventStream,
  type ExecutionArgs,
  type ExecutionResult,
  type FragmentDefinitionNode,
  GraphQLError,
  GraphQLIncludeDirective,
  GraphQLSkipDirective,
  getDirectiveValues,
  getOperationAST,
  getVariableValues,
  Kind,
  type SelectionNode,
} from 'graphql'
import type { PredictionEvent } from '../domain/prediction.ts'
import { MINUTE_MS } from '../domain/time.ts'
import type { EventLog } from '../events/event-log.ts'
import type { SubscriptionSource } from '../events/subscription-source.ts'
import type { Context } from '../graphql/context.ts'
import { type ErrorLog, maskError } from '../graphql/error-mask.ts'
import { badArgument, requestError } from '../graphql/request-errors.ts'
import type { FairScheduler } from '../runtime/fair-scheduler.ts'
import { createCatchUp, WRITE_BYTES } from './catch-up.ts'
import {
  createDocumentCache,
  createPayloadCache,
  createSharedOperation,
  type Payload,
  type SharedOperation,
} from './shared-operation.ts'
import {
  createSubscriptionBudget,
  type ExceededBudget,
  type SubscriptionBudgetOptions,
  type SubscriptionCharge,
} from './subscription-budget.ts'
import {
  type OperationSink,
  Subscriber,
  type SubscriptionGroup,
  type SubscriptionHost,
  type SubscriptionRequest,
} from './subscription-group.ts'

export interface FanOut {
  /**
   * Returns errors if the subscription is invalid.
   * @param args `contextValue` is a `Context`
   */
  subscribe(args: ExecutionArgs, request: SubscribeRequest): Promise<Subscriber | ExecutionResult>
  /** Number of subscriptions by app. */
  subscriptionsByApp(): Map<string, number>
  close(): void
}

/** The part of an operation request that a subscription needs beside its execution arguments. */
interface SubscribeRequest {
  openSink(): OperationSink
}

export interface FanOutOptions {
  eventLog: EventLog
  /** The only one of the process: requests and messages of one iteration of the event loop share its slice. */
  scheduler: FairScheduler
  log: ErrorLog
  limits: SubscriptionBudgetOptions
  /**
   * Time without an event after which a feed gets FeedCaughtUp (default 3 minutes). It refreshes the cursor,
   * which pruning would otherwise overtake.
   */
  cursorRefreshMs?: number
}

const CURSOR_REFRESH_MS = 3 * MINUTE_MS
/** Subscribers served per slice. */
const SUBSCRIBERS_PER_SLICE = 16
/** Memory of a subscription beside what it holds of its request (measured, with its part of graphql-ws). */
const SUBSCRIPTION_BYTES = 7 * 1024

interface Delivery {
  seq: number
  payload: Payload
}

export function createFanOut({
  eventLog,
  scheduler,
  log,
  limits,
  cursorRefreshMs = CURSOR_REFRESH_MS,
}: FanOutOptions): FanOut {
  const groups = new Map<SharedOperation['key'], SubscriptionGroup>()
  const budget = createSubscriptionBudget(limits)
  const documentCache = createDocumentCache()
  const payloadCache = createPayloadCache()
  const { nextSlice } = scheduler
  const catchUp = createCatchUp({ eventLog, payloadCache, nextSlice, log })
  const cursorRefreshTimer = setInterval(() => {
    for (const group of groups.values()) if (needsCursorRefresh(group)) notify(group, eventLog.head + 1)
  }, cursorRefreshMs / 4)
  cursorRefreshTimer.unref()

  const needsCursorRefresh = ({ source, lastDeliveryAt }: SubscriptionGroup) =>
    source.caughtUpMessage !== null && performance.now() - lastDeliveryAt >= cursorRefreshMs

  const host: SubscriptionHost = {
    join(subscriber, request) {
      const group = groups.get(request.operation.key) ?? createGroup(request)
      group.size++
      budget.add(subscriber.charge)
      catchUp(group, subscriber, request.source)
      return group
    },

    leave(subscriber, group) {
      budget.remove(subscriber.charge)
      group.live.delete(subscriber)
      if (--group.size > 0) return
      group.stopListening()
      groups.delete(group.operation.key)
    },
  }

  function createGroup({ operation, source }: SubscriptionRequest): SubscriptionGroup {
    const group: SubscriptionGroup = {
      operation,
      source,
      lastSeq: eventLog.head,
      live: new Set(),
      size: 0,
      lastDeliveryAt: performance.now(),
      isDelivering: false,
      hasMore: false,
      stopListening: eventLog.listen(source.selector, seq => notify(group, seq)),
    }
    groups.set(operation.key, group)
    return group
  }

  /**
   * Between the `lastSeq` of an idle group and `seq` there is no event for it: it would have been notified of
   * that one.
   */
  function notify(group: SubscriptionGroup, seq: number): void {
    group.hasMore = true
    if (group.isDelivering) return
    group.lastSeq = Math.max(group.lastSeq, seq - 1)
    drain(group).catch(error => {
      const masked = maskError(error, log)
      for (const subscriber of group.live) subscriber.end(masked)
    })
  }

  async function drain(group: SubscriptionGroup): Promise<void> {
    const { source, operation } = group
    group.isDelivering = true
    try {
      while (group.hasMore && group.live.size > 0) {
        group.hasMore = false
        await nextSlice(operation.sliceOwner)
        const { events, missedUpTo, scannedUpTo } = await eventLog.read(source.selector, group.lastSeq)
        if (missedUpTo !== null)
          await deliver(group, [
            { seq: missedUpTo, payload: await operation.execute(await source.gapMessage(missedUpTo)) },
          ])
        if (events.length > 0) await deliverEvents(group, events)
        else if (needsCursorRefresh(group))
          await deliver(group, [
            {
              seq: scannedUpTo,
              payload: await operation.execute(
                source.caughtUpMessage!(await eventLog.positionOf(scannedUpTo)),
              ),
            },
          ])
        group.lastSeq = scannedUpTo
        group.hasMore ||= scannedUpTo < eventLog.head
      }
    } finally {
      group.isDelivering = false
    }
  }

  /** Events of one batch go out in one write, up to WRITE_BYTES. */
  async function deliverEvents(group: SubscriptionGroup, events: readonly PredictionEvent[]): Promise<void> {
    const last = events.at(-1)
    let deliveries: Delivery[] = []
    let bytes = 0
    for (const event of events) {
      const payload = await payloadCache.get(group, event)
      deliveries.push({ seq: event.seq, payload })
      bytes += payload.json.length
      if (event === last || bytes >= WRITE_BYTES) {
        await deliver(group, deliveries)
        group.lastSeq = event.seq
        deliveries = []
        bytes = 0
      }
      if (event !== last) await nextSlice(group.operation.sliceOwner)
    }
  }

  /**
   * Delivers to all live subscribers, some per slice, and to those that become live meanwhile. A subscriber whose
   * sink is full leaves the live set and catches up once the sink has room.
   */
  async function deliver(group: SubscriptionGroup, deliveries: readonly Delivery[]): Promise<void> {
    const payloads = deliveries.map(({ payload }) => payload)
    let remaining = SUBSCRIBERS_PER_SLICE
    for (const subscriber of group.live) {
      if (remaining-- === 0) {
        await nextSlice(group.operation.sliceOwner)
        remaining = SUBSCRIBERS_PER_SLICE
      }
      const { lastSeq, sink } = subscriber
      if (sink.writer.isFull()) {
        subscriber.lastSeq = Math.max(lastSeq, group.lastSeq)
        group.live.delete(subscriber)
        catchUp(group, subscriber, null)
      } else
        subscriber.deliver(
          lastSeq <= group.lastSeq ? payloads : payloads.filter((_, i) => deliveries[i]!.seq > lastSeq),
        )
    }
    group.lastDeliveryAt = performance.now()
  }

  return {
    async subscribe(args, request) {
      const source = (await openSource(args)) as SubscriptionSource | ExecutionResult
      if (!('resolveStart' in source)) return source
      const operation = createSharedOperation(args, documentCache, log)
      if (operation instanceof GraphQLError) return { errors: [operation] }
      const sink = request.openSink()
      const { access, countRejection } = args.contextValue as Context
      const { appId } = operation
      const tokenId = access.grant?.tokenId ?? null
      const bytes = SUBSCRIPTION_BYTES + operation.heldBytes + source.heldBytes + sink.heldBytes
      const charge: SubscriptionCharge = { appId, tokenId, bytes }
      const exceeded = budget.findExceeded(charge)
      if (exceeded === null) return new Subscriber(sink, { operation, source }, charge, host)
      countRejection(access.scope.appId, 'TOO_MANY_SUBSCRIPTIONS')
      return { errors: [tooManyBytesError(exceeded)] }
    },
    subscriptionsByApp() {
      const counts = new Map<string, number>()
      for (const { operation, size } of groups.values())
        counts.set(operation.appId, (counts.get(operation.appId) ?? 0) + size)
      return counts
    },
    close: () => clearInterval(cursorRefreshTimer),
  }
}

function tooManyBytesError({ owner, maxBytes }: ExceededBudget): GraphQLError {
  const error = requestError(
    'TOO_MANY_SUBSCRIPTIONS',
    `The subscriptions of this ${owner} hold as much as they may: ${maxBytes} bytes.`,
  )
  error.extensions.http = { status: 429, headers: { 'retry-after': '1' } }
  return error
}

async function openSource(args: ExecutionArgs): Promise<unknown> {
  try {
    return await createSourceEventStream(args)
  } catch (error) {
    // graphql-js assumes that there is a first field.
    if (!selectsNothing(args)) throw error
    return { errors: [badArgument('query', 'a subscription that asks for something')] }
  }
}

/** Whether the operation's only field is skipped. */
function selectsNothing({ schema, document, operationName, variableValues }: ExecutionArgs): boolean {
  const operation = getOperationAST(document, operationName)
  if (!operation) return false
  const { coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], variableValues ?? {})
  const fragments = new Map(
    document.definitions.flatMap(definition =>
      definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition] as const] : [],
    ),
  )
  const selectsField = (selection: SelectionNode | FragmentDefinitionNode | undefined): boolean => {
    if (selection === undefined || getDirectiveValues(GraphQLSkipDirective, selection, coerced)?.if === true)
      return false
    if (getDirectiveValues(GraphQLIncludeDirective, selection, coerced)?.if === false) return false
    if (selection.kind === Kind.FRAGMENT_SPREAD) return selectsField(fragments.get(selection.name.value))
    return selection.kind === Kind.FIELD || selection.selectionSet.selections.some(selectsField)
  }
  return coerced !== undefined && !operation.selectionSet.selections.some(selectsField)
}
