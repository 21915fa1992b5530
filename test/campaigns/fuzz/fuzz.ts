/**
 * What is thrown at a running gateway, and what may never come of it: six properties, each a random input and the faults
 * that are found in what comes back.
 * Invariant: after each input nothing has been logged that nobody foresaw.
 */
import fc from 'fast-check'
import { schema } from '../../../src/graphql/schema.ts'
import { DOORS, type Heard } from '../../support/doors.ts'
import { until } from '../../support/until.ts'
import { type Arena, PATIENCE_MS, type Talk, talk } from './arena.ts'
import { formTalks } from './forms.ts'
import { socketFaults, socketTalks } from './frames.ts'
import { httpFaults, httpTalks } from './http.ts'
import { brokenOperations, type Operation, operations } from './operation.ts'
import { errorFaults, faultsOf, resultFaults, statusFaults } from './verdict.ts'
import { deliver, deliveries } from './webhook.ts'

export interface Bounds {
  seed: number
  runs: number
  /** No new input after so long. */
  ms: number
}

/** Inputs are thrown some at once: many have to be waited for. */
interface Throw {
  inputs: fc.Arbitrary<unknown[]>
  /** What came of one. */
  faults(input: unknown): Promise<string[]>
}

const AT_ONCE = 12
const throwOf = <Input>(inputs: fc.Arbitrary<Input>, faults: (input: Input) => Promise<string[]>): Throw => ({
  inputs: fc.array(inputs, { minLength: 1, maxLength: AT_ONCE, size: 'max' }),
  faults: input => faults(input as Input),
})

export const FUZZ = {
  'documents drawn from the schema': arena => operationThrow(arena, drawn(arena)),
  'documents with words gone, doubled and swapped': arena =>
    operationThrow(arena, brokenOperations(drawn(arena))),
  'bytes to HTTP': arena => talkThrow(arena, httpTalks({ operations: some(arena), bearers: arena.bearers })),
  'forms with files': arena =>
    talkThrow(arena, formTalks({ operations: some(arena), bearers: arena.bearers })),
  'bytes to a WebSocket': arena =>
    talkThrow(arena, socketTalks({ operations: some(arena), bearers: arena.bearers })),
  webhooks: arena => throwOf(deliveries(arena.webhooks), delivery => deliver(arena, delivery)),
} satisfies Record<string, (arena: Arena) => Throw>
export type Target = keyof typeof FUZZ

const drawn = ({ ids }: Arena) => operations(schema, ids)
const some = (arena: Arena) =>
  fc.oneof({ weight: 3, arbitrary: drawn(arena) }, brokenOperations(drawn(arena)))

/** So many batches share a seed: then the next number is one. */
const ROUND = 10
/** What was found to go wrong is made smaller for so long. */
const SHRINK_MS = 2.5 * PATIENCE_MS

/**
 * Answers with how many inputs there were.
 * @throws the least input that was found to go wrong, what went wrong, and the seed
 */
export async function fuzz(arena: Arena, target: Target, { seed, runs, ms }: Bounds): Promise<number> {
  const { inputs, faults } = FUZZ[target](arena)
  const until = Date.now() + ms
  let count = 0
  const property = fc.asyncProperty(inputs, async some => {
    count += some.length
    const found = await Promise.all(some.map(async input => blame(input, await faults(input))))
    if (found.some(all => all.length > 0)) throw new Error(found.flat().join('\n'))
    arena.calm()
  })
  for (let drawn = seed; count < runs && Date.now() < until; drawn++) {
    const {
      failed,
      counterexample,
      errorInstance: cause,
    } = await fc.check(property, {
      seed: drawn,
      numRuns: ROUND,
      interruptAfterTimeLimit: SHRINK_MS,
    })
    if (!failed) continue
    const why = cause instanceof Error ? cause.message : 'it takes for ever'
    const thrown = counterexample?.[0].map(told).join('\n')
    throw new Error(`${target}, seed ${drawn}: ${why}\nThe least that was thrown:\n${thrown}`, { cause })
  }
  await arena.serves()
  arena.calm()
  return count
}

const blame = (input: unknown, faults: string[]): string[] =>
  faults.map(fault => `${fault}\n  after ${told(input)}`)

const MOST_TOLD = 3000
const told = (input: unknown): string =>
  JSON.stringify(input, (_, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1') : value,
  ).slice(0, MOST_TOLD)

const GET = 'GET'
const WAYS = [...DOORS.map(([name]) => name), GET] as const

interface Put {
  operation: Operation
  way: (typeof WAYS)[number]
  bearer: string
}

const operationThrow = (arena: Arena, of: fc.Arbitrary<Operation>): Throw =>
  throwOf(
    fc.record({
      operation: of,
      way: fc.constantFrom(...WAYS),
      bearer: fc.constantFrom(...arena.bearers),
    }),
    put => (put.way === GET ? overGet(arena, put) : overDoor(arena, put)),
  )

async function overDoor({ harness }: Arena, { operation, way, bearer }: Put): Promise<string[]> {
  const connect = DOORS.find(([name]) => name === way)![1]
  const asker = await connect(harness, bearer)
  try {
    const { heard, end } = await asker.ask(operation)
    await until(() => heard.ended || heard.told.length > 0, PATIENCE_MS)
    await end()
    return heardFaults(heard)
  } catch (error) {
    // Who is not known is sent away.
    if (String(error).includes('closed with 4401')) return []
    throw error
  } finally {
    await asker[Symbol.asyncDispose]()
  }
}

function heardFaults({ status, told }: Heard): string[] {
  const text = told.join('\n')
  const faults = [...faultsOf(text), ...statusFaults(status)]
  for (const each of told) {
    if (status === 0) {
      const { type, payload } = JSON.parse(each)
      if (type === 'next') faults.push(...resultFaults(JSON.stringify(payload)))
      if (type === 'error') faults.push(...errorFaults(payload))
    } else if (each.startsWith('{')) faults.push(...resultFaults(each))
    else for (const [, data] of each.matchAll(/^data: (.+)$/gm)) faults.push(...resultFaults(data!))
  }
  return faults
}

async function overGet({ harness }: Arena, { operation, bearer }: Put): Promise<string[]> {
  const { query, variables, operationName } = operation
  const search = new URLSearchParams({
    query,
    variables: JSON.stringify(variables),
    ...(operationName && { operationName }),
  })
  // A longer head is no request.
  if (String(search).length > 12_000) return []
  const response = await harness.fetch(`/graphql?${search}`, {
    headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
    signal: AbortSignal.timeout(PATIENCE_MS),
  })
  const text = await response.text()
  const result = text === '' ? [] : resultFaults(text)
  return [...faultsOf(text), ...statusFaults(response.status), ...result]
}

const talkThrow = ({ port }: Arena, of: fc.Arbitrary<Talk>): Throw =>
  throwOf(of, async one => {
    const { bytes, hangs } = await talk(port, one)
    const found = socketFaults(bytes) ?? httpFaults(bytes, one)
    return hangs ? [...found, `it hangs: ${JSON.stringify(one.pieces.map(String))}`] : found
  })
