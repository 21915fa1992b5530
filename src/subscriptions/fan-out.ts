/**
 * From an event to everyone who watches: executed and serialised once for all who asked the same, written to each in an
 * envelope of its own. Those who keep up stand in one line and move together; whoever is behind catches up alone.
 * Invariant: whoever is in line has been given everything up to the line's place, or to its own if that is further. So it
 * is given each event once, in order.
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
import type { Feed } from '../events/event-log.ts'
import type { Source } from '../events/subscription-source.ts'
import { type ErrorLog, mask } from '../graphql/error-mask.ts'
import { badArgument } from '../graphql/request-errors.ts'
import type { Turns } from '../runtime/fair-scheduler.ts'
import { createCatchUp, WRITE_BYTES } from './catch-up.ts'
import {
  type Asker,
  createPayloads,
  createQuestion,
  type Payload,
  type Question,
} from './shared-operation.ts'
import { type Asked, type Home, type Line, type Sink, Subscriber } from './subscription-group.ts'

export interface Broadcast {
  /** With errors where the subscription is refused. The asker's context has its sink. */
  subscribe(args: ExecutionArgs): Promise<Subscriber | ExecutionResult>
  /** Live subscriptions, by whose they are. */
  watchers(): Map<string, number>
  close(): void
}

export interface BroadcastOptions {
  feed: Feed
  /** The process's one: reads and deliveries of one pass of the loop share a slice. */
  turns: Turns
  log: ErrorLog
  /** Who has been told nothing for this long is told how far the log was read, so that its cursor stays young. */
  quietMs?: number
}

const QUIET_MS = 3 * 60 * 1000
/** Subscribers a turn. */
const GRAIN = 16

interface Told {
  seq: number
  payload: Payload
}

export function createBroadcast({ feed, turns, log, quietMs = QUIET_MS }: BroadcastOptions): Broadcast {
  const lines = new Map<Question['key'], Line>()
  const payloads = createPayloads()
  const catchUp = createCatchUp({ feed, payloads, turns, log })
  const reminder = setInterval(() => {
    for (const line of lines.values()) if (isQuiet(line)) wake(line, feed.head + 1)
  }, quietMs / 4)
  reminder.unref()

  const isQuiet = ({ source, toldAt }: Line) =>
    source.caughtUp !== null && performance.now() - toldAt >= quietMs

  const home: Home = {
    begin(subscriber, asked) {
      const line = lines.get(asked.question.key) ?? lineOf(asked)
      line.size++
      catchUp(line, subscriber, asked.source)
      return line
    },

    leave(subscriber, line) {
      line.inLine.delete(subscriber)
      if (--line.size > 0) return
      line.unlisten()
      lines.delete(line.question.key)
    },
  }

  function lineOf({ question, source }: Asked): Line {
    const line: Line = {
      question,
      source,
      place: feed.head,
      inLine: new Set(),
      size: 0,
      toldAt: performance.now(),
      moving: false,
      again: false,
      unlisten: feed.listen(source.interest, seq => wake(line, seq)),
    }
    lines.set(question.key, line)
    return line
  }

  /** Between the place of a line that rests and `seq` there is nothing for it: it would have been woken. */
  function wake(line: Line, seq: number): void {
    line.again = true
    if (line.moving) return
    line.place = Math.max(line.place, seq - 1)
    move(line).catch(error => {
      const masked = mask(error, log)
      for (const subscriber of line.inLine) subscriber.end(masked)
    })
  }

  async function move(line: Line): Promise<void> {
    const { source, question } = line
    line.moving = true
    try {
      while (line.again && line.inLine.size > 0) {
        line.again = false
        await turns.next(question.owner)
        const { events, prunedTo, through } = await feed.read(source.interest, line.place)
        if (prunedTo !== null)
          await offer(line, [{ seq: prunedTo, payload: await question.answer(await source.gap(prunedTo)) }])
        if (events.length > 0) await tell(line, events)
        else if (isQuiet(line))
          await offer(line, [{ seq: through, payload: await question.answer(source.caughtUp!(through)) }])
        line.place = through
        line.again ||= through < feed.head
      }
    } finally {
      line.moving = false
    }
  }

  /** What is told in one turn goes out in one write, as far as its bytes go. */
  async function tell(line: Line, events: readonly PredictionEvent[]): Promise<void> {
    const last = events.at(-1)
    let told: Told[] = []
    let bytes = 0
    for (const event of events) {
      const payload = await payloads.of(line, event)
      told.push({ seq: event.seq, payload })
      bytes += payload.tail.length
      if (event === last || bytes >= WRITE_BYTES) {
        await offer(line, told)
        line.place = event.seq
        told = []
        bytes = 0
      }
      if (event !== last) await turns.next(line.question.owner)
    }
  }

  /** To each in line, a few a turn; whoever comes into line meanwhile has its turn too. */
  async function offer(line: Line, told: readonly Told[]): Promise<void> {
    const all = told.map(({ payload }) => payload)
    let left = GRAIN
    for (const subscriber of line.inLine) {
      if (left-- === 0) {
        await turns.next(line.question.owner)
        left = GRAIN
      }
      const { place, sink } = subscriber
      if (sink.isFull()) {
        subscriber.place = Math.max(place, line.place)
        line.inLine.delete(subscriber)
        catchUp(line, subscriber, null)
      } else subscriber.give(place <= line.place ? all : all.filter((_, i) => told[i]!.seq > place))
    }
    line.toldAt = performance.now()
  }

  return {
    async subscribe(args) {
      const source = (await beginningOf(args)) as Source | ExecutionResult
      if (!('begin' in source)) return source
      const asker = args.contextValue as Asker & { sink: Sink }
      const question = createQuestion(args, asker, log)
      if (question instanceof GraphQLError) return { errors: [question] }
      return new Subscriber(asker.sink, { question, source }, home)
    },
    watchers() {
      const watchers = new Map<string, number>()
      for (const { question, size } of lines.values())
        watchers.set(question.owner, (watchers.get(question.owner) ?? 0) + size)
      return watchers
    },
    close: () => clearInterval(reminder),
  }
}

async function beginningOf(args: ExecutionArgs): Promise<unknown> {
  try {
    return await createSourceEventStream(args)
  } catch (error) {
    // Graphql-js takes the first field for granted.
    if (!asksNothing(args)) throw error
    return { errors: [badArgument('query', 'a subscription that asks for something')] }
  }
}

/** Its one field is skipped. */
function asksNothing({ schema, document, operationName, variableValues }: ExecutionArgs): boolean {
  const operation = getOperationAST(document, operationName)
  if (!operation) return false
  const { coerced } = getVariableValues(schema, operation.variableDefinitions ?? [], variableValues ?? {})
  const fragments = new Map(
    document.definitions.flatMap(one =>
      one.kind === Kind.FRAGMENT_DEFINITION ? [[one.name.value, one] as const] : [],
    ),
  )
  const asks = (one: SelectionNode | FragmentDefinitionNode | undefined): boolean => {
    if (one === undefined || getDirectiveValues(GraphQLSkipDirective, one, coerced)?.if === true) return false
    if (getDirectiveValues(GraphQLIncludeDirective, one, coerced)?.if === false) return false
    if (one.kind === Kind.FRAGMENT_SPREAD) return asks(fragments.get(one.name.value))
    return one.kind === Kind.FIELD || one.selectionSet.selections.some(asks)
  }
  return coerced !== undefined && !operation.selectionSet.selections.some(asks)
}
