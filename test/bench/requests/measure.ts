/**
 * Requests to the three side by side, and pages of this gateway by how many predictions there are. The servers take turns,
 * another one first each time: what is compared was measured in one turn.
 * Invariant: all three give the same answers, of the same bytes, or the run fails.
 */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { type Remote, start } from '../remote.ts'
import { createResults, NAMES, type Results } from '../results.ts'
import { FILE } from './contender.ts'
import type { LoadCommands } from './load.ts'
import type { RequestMetric } from './metrics.ts'
import { createParty, type Party } from './party.ts'
import type { Question } from './questions.ts'
import { cursorOf } from './rows.ts'
import { seed } from './seed.ts'

export interface RequestSizes {
  turns: number
  sliceMs: number
  /** Of each server, for each question. */
  warmUpMs: number
  /** In each database of the three. */
  rows: number
  /** In those of this gateway alone, fewest first. */
  pageRows: readonly number[]
}

/** CPU of the server a page, microseconds; a sample a turn. */
export interface PageCost {
  rows: number
  first: number[]
  middle: number[]
}

export interface Requests {
  sideBySide: Results<RequestMetric>
  pages: PageCost[]
}

export const IN_FLIGHT = 32
/** Answers. */
const COMPARED = 20
/** Predictions that are read, and places in the list that are read from. */
const SPREAD = { ids: 1000, places: 50 }

export async function measureRequests(sizes: RequestSizes): Promise<Requests> {
  await using load = start<LoadCommands>('requests/load.ts')
  const folder = await mkdtemp(join(tmpdir(), 'rushes-requests-'))
  try {
    const sideBySide = await compareThree(folder, load, sizes)
    return { sideBySide, pages: await measurePages(folder, load, sizes) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function compareThree(folder: string, load: Remote<LoadCommands>, sizes: RequestSizes) {
  const results = createResults<RequestMetric>()
  const list = await seed(join(folder, FILE), sizes.rows)
  await using three = new AsyncDisposableStack()
  const all: Party[] = []
  for (const name of NAMES) {
    const own = join(folder, name)
    await mkdir(own)
    await copyFile(join(folder, FILE), join(own, FILE))
    all.push(three.use(await createParty(name, own, load)))
  }

  async function play(question: Question, inFlight: number, cpu: RequestMetric, rate: RequestMetric) {
    await compare(all, question)
    for (const { work } of all) await work(question, inFlight, sizes.warmUpMs)
    for (let turn = 0; turn < sizes.turns; turn++)
      for (const { name, work } of rotated(all, turn)) {
        const cost = await work(question, inFlight, sizes.sliceMs)
        results.add(cpu, name, cost.cpu)
        results.add(rate, name, cost.rate)
      }
  }

  const ids = spread(list, SPREAD.ids).map(({ id }) => encodeId('Prediction', id))
  await play({ name: 'Read', ids }, IN_FLIGHT, 'readCpu', 'readRate')
  const places = spread(list, SPREAD.places).map(cursorOf)
  await play({ name: 'Page', places }, IN_FLIGHT, 'pageCpu', 'pageRate')
  // The last: from here on each has rows of its own.
  const submit: Question = { name: 'Submit', image: all.find(({ name }) => name === 'ours')!.target.image }
  await play(submit, IN_FLIGHT, 'submitCpu', 'submitRate')
  await play(submit, 1, 'aloneCpu', 'aloneRate')
  return results
}

async function measurePages(folder: string, load: Remote<LoadCommands>, sizes: RequestSizes) {
  await using servers = new AsyncDisposableStack()
  const all: (PageCost & { party: Party; questions: Record<'first' | 'middle', Question> })[] = []
  for (const rows of sizes.pageRows) {
    const own = join(folder, `${rows}`)
    await mkdir(own)
    const list = await seed(join(own, FILE), rows)
    const party = servers.use(await createParty('ours', own, load))
    const questions = {
      first: { name: 'Page', places: [null] },
      middle: { name: 'Page', places: [cursorOf(list[rows >> 1]!)] },
    } as const
    for (const question of Object.values(questions)) await party.work(question, IN_FLIGHT, sizes.warmUpMs)
    all.push({ rows, first: [], middle: [], party, questions })
  }
  for (let turn = 0; turn < sizes.turns; turn++)
    for (const where of ['first', 'middle'] as const)
      for (const { [where]: samples, party, questions } of rotated(all, turn))
        samples.push((await party.work(questions[where], IN_FLIGHT, sizes.sliceMs)).cpu)
  return all.map(({ rows, first, middle }) => ({ rows, first, middle }))
}

async function compare(all: readonly Party[], question: Question): Promise<void> {
  const given: string[] = []
  for (const { answers } of all) {
    const bodies = await answers(question, COMPARED)
    // What is submitted gets an id of its own.
    given.push(
      question.name === 'Submit' ? bodies.join('\n').replaceAll(/"id":"\w+"/g, '"id":""') : bodies.join('\n'),
    )
  }
  if (new Set(given).size > 1) throw new Error(`${question.name}: not the same bytes:\n${given.join('\n\n')}`)
}

const rotated = <Item>(all: readonly Item[], by: number): Item[] =>
  all.map((_, i) => all[(i + by) % all.length]!)

/** But for the last tenth, behind which no page is full. */
const spread = <Item>(list: readonly Item[], count: number): Item[] =>
  Array.from({ length: count }, (_, i) => list[Math.floor((i / count) * list.length * 0.9)]!)
