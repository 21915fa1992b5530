/**
 * Six fuzz targets: each a generator of random input and a check of the answers.
 * Invariant: no input causes an unexpected error in the log.
 */
import fc from 'fast-check'
import { schema } from '../../../src/graphql/schema.ts'
import { type Received, TRANSPORT_CLIENTS } from '../../support/transports.ts'
import { until } from '../../support/until.ts'
import { corruptedOperations, type Operation, operations } from './graphql-operations.ts'
import { httpExchanges, httpFaults } from './http-requests.ts'
import { multipartExchanges } from './multipart-requests.ts'
import { errorFaults, resultFaults, statusFaults, textFaults } from './response-check.ts'
import { exchangeBytes, type FuzzScenario, type RawExchange, RESPONSE_TIMEOUT_MS } from './scenario.ts'
import { sendWebhook, webhookRequests } from './webhook-requests.ts'
import { websocketExchanges, websocketFaults } from './websocket-traffic.ts'

export interface FuzzLimits {
  seed: number
  runs: number
  /** No new input after this time. */
  ms: number
}

/** Inputs are sent in batches, since many have to be waited for. */
interface FuzzProperty {
  inputs: fc.Arbitrary<unknown[]>
  /** Faults caused by one input. */
  findFaults(input: unknown): Promise<string[]>
}

const BATCH_SIZE = 12
const createProperty = <Input>(
  inputs: fc.Arbitrary<Input>,
  findFaults: (input: Input) => Promise<string[]>,
): FuzzProperty => ({
  inputs: fc.array(inputs, { minLength: 1, maxLength: BATCH_SIZE, size: 'max' }),
  findFaults: input => findFaults(input as Input),
})

export const FUZZ_TARGETS = {
  'documents drawn from the schema': scenario => operationProperty(scenario, drawnOperations(scenario)),
  'documents with tokens deleted, doubled and swapped': scenario =>
    operationProperty(scenario, corruptedOperations(drawnOperations(scenario))),
  'HTTP requests as bytes': scenario =>
    exchangeProperty(
      scenario,
      httpExchanges({ operations: mixedOperations(scenario), bearers: scenario.bearers }),
    ),
  'multipart requests': scenario =>
    exchangeProperty(
      scenario,
      multipartExchanges({ operations: mixedOperations(scenario), bearers: scenario.bearers }),
    ),
  'WebSocket traffic as bytes': scenario =>
    exchangeProperty(
      scenario,
      websocketExchanges({ operations: mixedOperations(scenario), bearers: scenario.bearers }),
    ),
  webhooks: scenario =>
    createProperty(webhookRequests(scenario.webhooks), webhook => sendWebhook(scenario, webhook)),
} satisfies Record<string, (scenario: FuzzScenario) => FuzzProperty>
export type FuzzTarget = keyof typeof FUZZ_TARGETS

const drawnOperations = ({ ids }: FuzzScenario) => operations(schema, ids)
const mixedOperations = (scenario: FuzzScenario) =>
  fc.oneof(
    { weight: 3, arbitrary: drawnOperations(scenario) },
    corruptedOperations(drawnOperations(scenario)),
  )

/** Batches per seed. Then the next number is the seed. */
const RUNS_PER_SEED = 10
/** Time limit for shrinking a failing input. */
const SHRINK_TIMEOUT_MS = 2.5 * RESPONSE_TIMEOUT_MS

/**
 * Returns the number of inputs.
 * @throws the smallest failing input, its faults and the seed
 */
export async function fuzz(
  scenario: FuzzScenario,
  target: FuzzTarget,
  { seed, runs, ms }: FuzzLimits,
): Promise<number> {
  const { inputs, findFaults } = FUZZ_TARGETS[target](scenario)
  const deadline = Date.now() + ms
  let count = 0
  const property = fc.asyncProperty(inputs, async batch => {
    count += batch.length
    const found = await Promise.all(batch.map(async input => attributeFaults(input, await findFaults(input))))
    if (found.some(inputFaults => inputFaults.length > 0)) throw new Error(found.flat().join('\n'))
    scenario.assertNoErrorsLogged()
  })
  for (let batchSeed = seed; count < runs && Date.now() < deadline; batchSeed++) {
    const {
      failed,
      counterexample,
      errorInstance: cause,
    } = await fc.check(property, {
      seed: batchSeed,
      numRuns: RUNS_PER_SEED,
      interruptAfterTimeLimit: SHRINK_TIMEOUT_MS,
    })
    if (!failed) continue
    const reason = cause instanceof Error ? cause.message : 'it did not end'
    const smallestInput = counterexample?.[0].map(printInput).join('\n')
    throw new Error(`${target}, seed ${batchSeed}: ${reason}\nSmallest failing input:\n${smallestInput}`, {
      cause,
    })
  }
  await scenario.assertServes()
  scenario.assertNoErrorsLogged()
  return count
}

const attributeFaults = (input: unknown, faults: string[]): string[] =>
  faults.map(fault => `${fault}\n  after ${printInput(input)}`)

const MAX_PRINTED_CHARACTERS = 3000
const printInput = (input: unknown): string =>
  JSON.stringify(input, (_, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1') : value,
  ).slice(0, MAX_PRINTED_CHARACTERS)

const GET = 'GET'
const TRANSPORTS = [...TRANSPORT_CLIENTS.map(([name]) => name), GET] as const

interface OperationInput {
  operation: Operation
  transport: (typeof TRANSPORTS)[number]
  bearer: string
}

const operationProperty = (scenario: FuzzScenario, arbitrary: fc.Arbitrary<Operation>): FuzzProperty =>
  createProperty(
    fc.record({
      operation: arbitrary,
      transport: fc.constantFrom(...TRANSPORTS),
      bearer: fc.constantFrom(...scenario.bearers),
    }),
    input => (input.transport === GET ? sendOverGet(scenario, input) : sendOverTransport(scenario, input)),
  )

async function sendOverTransport(
  { harness }: FuzzScenario,
  { operation, transport, bearer }: OperationInput,
): Promise<string[]> {
  const connect = TRANSPORT_CLIENTS.find(([name]) => name === transport)![1]
  const client = await connect(harness, bearer)
  try {
    const { received, end } = await client.send(operation)
    await until(() => received.isEnded || received.messages.length > 0, RESPONSE_TIMEOUT_MS)
    await end()
    return answerFaults(received)
  } catch (error) {
    // An invalid credential is closed with 4401.
    if (String(error).includes('closed with 4401')) return []
    throw error
  } finally {
    await client[Symbol.asyncDispose]()
  }
}

function answerFaults({ status, messages }: Received): string[] {
  const text = messages.join('\n')
  const faults = [...textFaults(text), ...statusFaults(status)]
  for (const item of messages) {
    if (status === 0) {
      const { type, payload } = JSON.parse(item)
      if (type === 'next') faults.push(...resultFaults(JSON.stringify(payload)))
      if (type === 'error') faults.push(...errorFaults(payload))
    } else if (item.startsWith('{')) faults.push(...resultFaults(item))
    else for (const [, data] of item.matchAll(/^data: (.+)$/gm)) faults.push(...resultFaults(data!))
  }
  return faults
}

async function sendOverGet(
  { harness }: FuzzScenario,
  { operation, bearer }: OperationInput,
): Promise<string[]> {
  const { query, variables, operationName } = operation
  const search = new URLSearchParams({
    query,
    variables: JSON.stringify(variables),
    ...(operationName && { operationName }),
  })
  // A longer head is rejected.
  if (String(search).length > 12_000) return []
  const response = await harness.fetch(`/graphql?${search}`, {
    headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
    signal: AbortSignal.timeout(RESPONSE_TIMEOUT_MS),
  })
  const text = await response.text()
  const result = text === '' ? [] : resultFaults(text)
  return [...textFaults(text), ...statusFaults(response.status), ...result]
}

const exchangeProperty = ({ port }: FuzzScenario, arbitrary: fc.Arbitrary<RawExchange>): FuzzProperty =>
  createProperty(arbitrary, async input => {
    const { bytes, hasTimedOut } = await exchangeBytes(port, input)
    const found = websocketFaults(bytes) ?? httpFaults(bytes, input)
    return hasTimedOut
      ? [...found, `no end within the time-out: ${JSON.stringify(input.chunks.map(String))}`]
      : found
  })
