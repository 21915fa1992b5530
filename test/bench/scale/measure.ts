/**
 * What a job costs the gateway with so many in flight: 50 at a time are sent and 50 end, so their number stays.
 * Each size has a gateway process and a database of its own. CPU is the process's, without what it takes when idle.
 * Invariant: looks come at the same rate whatever the number, so only the number differs.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Remote, start } from '../remote.ts'
import type { GatewayCommands } from './gateway.ts'
import { createLateness } from './lateness.ts'
import type { News, UpstreamCommands } from './upstream.ts'

export interface Flight {
  jobs: number
  /** Each is looked at so often. */
  lookMs: number
}

export interface ScaleSizes {
  few: Flight
  many: Flight
  holdMs: number
  /** Each sends and ends 50 jobs. */
  turns: number
}

export interface Scale {
  inFlight: number
  /** ms of CPU: to make a job, inspect its image and send it. */
  send: number
  /** One that brings nothing new. */
  look: number
  /** To see it at work, and then ended. */
  end: number
  job: number
  /** Of the event loop, p99, ms: while nothing but looks happens, and while jobs come and go as well. */
  holding: number
  moving: number
  /** The same of a process that only waits. */
  beside: { holding: number; moving: number }
  looksPerSecond: number
  /** Bytes, without garbage. */
  heap: number
  rss: number
}

/** Of a job: what the schedule takes once it has learned. */
export const LOOKS = 12
const BATCH = 50
/** Between two sends, ms; and every so manieth look brings news. */
const GAP_MS = 20
const EVERY = 6
/** Turns, until all is compiled. */
const WARM_UP = 3
const IDLE_MS = 2000
const STEP_MS = 20
/** What upstream has answered is written down by then. */
const SETTLE_MS = 150

export async function measureScale(sizes: ScaleSizes): Promise<{ few: Scale; many: Scale }> {
  await using upstream = start<UpstreamCommands>('scale/upstream.ts')
  const few = await measure(upstream, sizes.few, sizes)
  const many = await measure(upstream, sizes.many, sizes)
  return { few, many }
}

async function measure(upstream: Remote<UpstreamCommands>, flight: Flight, sizes: ScaleSizes) {
  const folder = await mkdtemp(join(tmpdir(), 'rushes-scale-'))
  try {
    const origin = await upstream.ask('address')
    await using gateway = start<GatewayCommands>('scale/gateway.ts', folder, origin)
    return await play(upstream, gateway, flight, sizes)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Part {
  looks: number
  ms: number
  cpu: number
}

async function play(
  upstream: Remote<UpstreamCommands>,
  gateway: Remote<GatewayCommands>,
  { jobs: inFlight, lookMs }: Flight,
  { many, holdMs, turns }: ScaleSizes,
): Promise<Scale> {
  async function during(work: () => Promise<unknown>): Promise<Part> {
    const before = await upstream.ask('counts')
    await gateway.ask('lap')
    await work()
    const lap = await gateway.ask('lap')
    const { looks } = await upstream.ask('counts')
    return { looks: looks - before.looks, ...lap }
  }

  async function send(): Promise<void> {
    const { submits } = await upstream.ask('counts')
    await gateway.ask('create', BATCH, GAP_MS)
    while ((await upstream.ask('counts')).submits < submits + BATCH) await pause(STEP_MS)
    await pause(SETTLE_MS)
  }

  async function tell(status: News): Promise<void> {
    await upstream.ask('tell', status, BATCH, EVERY)
    while ((await upstream.ask('counts')).untold > 0) await pause(STEP_MS)
    await pause(SETTLE_MS)
  }

  const beside = createLateness()
  const late = async () => ({ own: await gateway.ask('late'), beside: beside.take() })

  await gateway.ask('start', lookMs)
  const idle = await during(() => pause(IDLE_MS))
  await gateway.ask('seed', many.jobs, inFlight, lookMs)

  const sent: Part[] = []
  const ended: Part[] = []
  for (let turn = -WARM_UP; turn < turns; turn++) {
    if (turn === 0) await late()
    const sending = await during(send)
    const ending = await during(() => tell('processing').then(() => tell('failed')))
    if (turn < 0) continue
    sent.push(sending)
    ended.push(ending)
  }
  const moving = await late()
  const held = await during(() => pause(holdMs))
  const holding = await late()
  const { heap, rss } = await gateway.ask('memory')
  const tally = await gateway.ask('tally')
  if (tally.inFlight !== inFlight) throw new Error(`${tally.inFlight} of ${inFlight} in flight`)

  const idling = idle.cpu / idle.ms
  const own = ({ cpu, ms }: Part) => cpu - idling * ms
  const look = own(held) / held.looks
  const costOf = (parts: readonly Part[]) =>
    parts.reduce((sum, part) => sum + own(part) - look * part.looks, 0) / (turns * BATCH)
  const [sending, ending] = [costOf(sent), costOf(ended)]
  return {
    inFlight,
    send: sending,
    look,
    end: ending,
    job: sending + LOOKS * look + ending,
    holding: holding.own,
    moving: moving.own,
    beside: { holding: holding.beside, moving: moving.beside },
    looksPerSecond: held.looks / (held.ms / 1000),
    heap,
    rss,
  }
}
