/**
 * Requests to the three servers side by side, and pages of this gateway by the number of predictions. The servers are
 * measured round by round, each round with another server first. Only samples of one round are compared.
 * Invariant: all three give the same answers, with the same bytes, or the run fails.
 */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { type RemoteProcess, startProcess } from '../process-rpc.ts'
import { createResults, NAMES, type Results } from '../results.ts'
import { FILE } from './bench-server.ts'
import type { LoadCommands } from './load.ts'
import type { RequestMetric } from './metrics.ts'
import type { BenchOperation } from './operations.ts'
import { encodeCursor } from './rows.ts'
import { seed } from './seed.ts'
import { type ServerUnderTest, startServerUnderTest } from './server-under-test.ts'

export interface RequestSizes {
  rounds: number
  sliceMs: number
  /** Duration of the warm-up for each server and operation. */
  warmUpMs: number
  /** Rows in each database of the three. */
  rows: number
  /** Rows in the databases of this gateway alone, fewest first. */
  pageRows: readonly number[]
}

/** CPU of the server for a page, microseconds; one sample a round. */
export interface PageCost {
  rows: number
  first: number[]
  middle: number[]
}

export interface Requests {
  comparison: Results<RequestMetric>
  pages: PageCost[]
}

export const CONCURRENT_REQUESTS = 32
/** Number of answers that are compared. */
const COMPARED_RESPONSES = 20
/** Predictions that are read, and list positions that pages start at. */
const SAMPLE_COUNTS = { ids: 1000, cursors: 50 }

export async function measureRequests(sizes: RequestSizes): Promise<Requests> {
  await using load = startProcess<LoadCommands>('requests/load.ts')
  const folder = await mkdtemp(join(tmpdir(), 'rushes-requests-'))
  try {
    const comparison = await compareServers(folder, load, sizes)
    return { comparison, pages: await measurePages(folder, load, sizes) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function compareServers(folder: string, load: RemoteProcess<LoadCommands>, sizes: RequestSizes) {
  const results = createResults<RequestMetric>()
  const list = await seed(join(folder, FILE), sizes.rows)
  await using stack = new AsyncDisposableStack()
  const servers: ServerUnderTest[] = []
  for (const name of NAMES) {
    const serverFolder = join(folder, name)
    await mkdir(serverFolder)
    await copyFile(join(folder, FILE), join(serverFolder, FILE))
    servers.push(stack.use(await startServerUnderTest(name, serverFolder, load)))
  }

  async function measureOperation(
    operation: BenchOperation,
    inFlight: number,
    cpu: RequestMetric,
    rate: RequestMetric,
  ) {
    await assertSameAnswers(servers, operation)
    for (const { measure } of servers) await measure(operation, inFlight, sizes.warmUpMs)
    for (let round = 0; round < sizes.rounds; round++)
      for (const { name, measure } of rotated(servers, round)) {
        const cost = await measure(operation, inFlight, sizes.sliceMs)
        results.add(cpu, name, cost.cpu)
        results.add(rate, name, cost.rate)
      }
  }

  const ids = sampleEvenly(list, SAMPLE_COUNTS.ids).map(({ id }) => encodeId('Prediction', id))
  await measureOperation({ name: 'Read', ids }, CONCURRENT_REQUESTS, 'readCpu', 'readRate')
  const cursors = sampleEvenly(list, SAMPLE_COUNTS.cursors).map(encodeCursor)
  await measureOperation({ name: 'Page', cursors }, CONCURRENT_REQUESTS, 'pageCpu', 'pageRate')
  // Submits come last: from here on the servers have different rows.
  const submit: BenchOperation = {
    name: 'Submit',
    imageUrl: servers.find(({ name }) => name === 'ours')!.target.imageUrl,
  }
  await measureOperation(submit, CONCURRENT_REQUESTS, 'submitCpu', 'submitRate')
  await measureOperation(submit, 1, 'aloneCpu', 'aloneRate')
  return results
}

async function measurePages(folder: string, load: RemoteProcess<LoadCommands>, sizes: RequestSizes) {
  await using servers = new AsyncDisposableStack()
  const databases: (PageCost & {
    server: ServerUnderTest
    operations: Record<'first' | 'middle', BenchOperation>
  })[] = []
  for (const rows of sizes.pageRows) {
    const serverFolder = join(folder, `${rows}`)
    await mkdir(serverFolder)
    const list = await seed(join(serverFolder, FILE), rows)
    const server = servers.use(await startServerUnderTest('ours', serverFolder, load))
    const operations = {
      first: { name: 'Page', cursors: [null] },
      middle: { name: 'Page', cursors: [encodeCursor(list[rows >> 1]!)] },
    } as const
    for (const operation of Object.values(operations))
      await server.measure(operation, CONCURRENT_REQUESTS, sizes.warmUpMs)
    databases.push({ rows, first: [], middle: [], server, operations })
  }
  for (let round = 0; round < sizes.rounds; round++)
    for (const position of ['first', 'middle'] as const)
      for (const { [position]: samples, server, operations } of rotated(databases, round))
        samples.push((await server.measure(operations[position], CONCURRENT_REQUESTS, sizes.sliceMs)).cpu)
  return databases.map(({ rows, first, middle }) => ({ rows, first, middle }))
}

async function assertSameAnswers(
  servers: readonly ServerUnderTest[],
  operation: BenchOperation,
): Promise<void> {
  const answersByServer: string[] = []
  for (const { answers } of servers) {
    const bodies = await answers(operation, COMPARED_RESPONSES)
    // Each submitted prediction gets its own id.
    answersByServer.push(
      operation.name === 'Submit'
        ? bodies.join('\n').replaceAll(/"id":"\w+"/g, '"id":""')
        : bodies.join('\n'),
    )
  }
  if (new Set(answersByServer).size > 1)
    throw new Error(`${operation.name}: not the same bytes:\n${answersByServer.join('\n\n')}`)
}

const rotated = <Item>(items: readonly Item[], by: number): Item[] =>
  items.map((_, i) => items[(i + by) % items.length]!)

/** Leaves out the last tenth of the list, after which no page is full. */
const sampleEvenly = <Item>(list: readonly Item[], count: number): Item[] =>
  Array.from({ length: count }, (_, i) => list[Math.floor((i / count) * list.length * 0.9)]!)
