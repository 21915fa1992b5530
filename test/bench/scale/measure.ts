/**
 * What a job costs the gateway with so many in flight: 50 at a time are sent and 50 end, so their number stays.
 * Each size has a gateway process and a database of its own. CPU is the process's, without what it takes when idle.
 * Invariant: looks come at the same rate whatever the number, so only the number differs.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type RemoteProcess, startProcess } from '../process-rpc.ts'
import { createDelayMonitor } from './event-loop-delay.ts'
import type { GatewayCommands } from './gateway.ts'
import type { ReportedStatus, UpstreamCommands } from './upstream.ts'

export interface ScaleLoad {
  jobs: number
  /** Each is looked at so often. */
  pollIntervalMs: number
}

export interface ScaleSizes {
  few: ScaleLoad
  many: ScaleLoad
  steadyMs: number
  /** Each sends and ends 50 jobs. */
  rounds: number
}

export interface ScaleResult {
  inFlight: number
  /** ms of CPU: to make a job, inspect its image and send it. */
  send: number
  /** One that brings nothing new. */
  poll: number
  /** To see it at work, and then ended. */
  end: number
  job: number
  /** Of the event loop, p99, ms: while nothing but looks happens, and while jobs come and go as well. */
  steadyDelay: number
  busyDelay: number
  /** The same of a process that only waits. */
  referenceDelay: { steady: number; busy: number }
  pollsPerSecond: number
  /** Bytes, without garbage. */
  heap: number
  rss: number
}

/** Of a job: what the schedule takes once it has learned. */
export const POLLS_PER_JOB = 12
const BATCH_JOBS = 50
/** Between two sends, ms; and every so manieth look brings news. */
const CREATE_INTERVAL_MS = 20
const POLLS_BETWEEN_CHANGES = 6
/** Turns, until all is compiled. */
const WARM_UP_ROUNDS = 3
const IDLE_MS = 2000
const CHECK_INTERVAL_MS = 20
/** What upstream has answered is written down by then. */
const SETTLE_MS = 150

export async function measureScale(sizes: ScaleSizes): Promise<{ few: ScaleResult; many: ScaleResult }> {
  await using upstream = startProcess<UpstreamCommands>('scale/upstream.ts')
  const few = await measure(upstream, sizes.few, sizes)
  const many = await measure(upstream, sizes.many, sizes)
  return { few, many }
}

async function measure(upstream: RemoteProcess<UpstreamCommands>, load: ScaleLoad, sizes: ScaleSizes) {
  const folder = await mkdtemp(join(tmpdir(), 'rushes-scale-'))
  try {
    const origin = await upstream.call('address')
    await using gateway = startProcess<GatewayCommands>('scale/gateway.ts', folder, origin)
    return await measureLoad(upstream, gateway, load, sizes)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Sample {
  polls: number
  ms: number
  cpu: number
}

async function measureLoad(
  upstream: RemoteProcess<UpstreamCommands>,
  gateway: RemoteProcess<GatewayCommands>,
  { jobs: inFlight, pollIntervalMs }: ScaleLoad,
  { many, steadyMs, rounds }: ScaleSizes,
): Promise<ScaleResult> {
  async function during(work: () => Promise<unknown>): Promise<Sample> {
    const before = await upstream.call('counts')
    await gateway.call('lap')
    await work()
    const lap = await gateway.call('lap')
    const { looks: polls } = await upstream.call('counts')
    return { polls: polls - before.looks, ...lap }
  }

  async function send(): Promise<void> {
    const { submits } = await upstream.call('counts')
    await gateway.call('create', BATCH_JOBS, CREATE_INTERVAL_MS)
    while ((await upstream.call('counts')).submits < submits + BATCH_JOBS) await pause(CHECK_INTERVAL_MS)
    await pause(SETTLE_MS)
  }

  async function reportStatus(status: ReportedStatus): Promise<void> {
    await upstream.call('tell', status, BATCH_JOBS, POLLS_BETWEEN_CHANGES)
    while ((await upstream.call('counts')).unreported > 0) await pause(CHECK_INTERVAL_MS)
    await pause(SETTLE_MS)
  }

  const referenceMonitor = createDelayMonitor()
  const readDelays = async () => ({ own: await gateway.call('late'), reference: referenceMonitor.takeP99() })

  await gateway.call('start', pollIntervalMs)
  const idle = await during(() => pause(IDLE_MS))
  await gateway.call('seed', many.jobs, inFlight, pollIntervalMs)

  const sent: Sample[] = []
  const ended: Sample[] = []
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    if (round === 0) await readDelays()
    const sendingSample = await during(send)
    const endingSample = await during(() => reportStatus('processing').then(() => reportStatus('failed')))
    if (round < 0) continue
    sent.push(sendingSample)
    ended.push(endingSample)
  }
  const busy = await readDelays()
  const steadySample = await during(() => pause(steadyMs))
  const steady = await readDelays()
  const { heap, rss } = await gateway.call('memory')
  const tally = await gateway.call('tally')
  if (tally.inFlight !== inFlight) throw new Error(`${tally.inFlight} of ${inFlight} in flight`)

  const idleCpuPerMs = idle.cpu / idle.ms
  const withoutIdle = ({ cpu, ms }: Sample) => cpu - idleCpuPerMs * ms
  const poll = withoutIdle(steadySample) / steadySample.polls
  const costOf = (samples: readonly Sample[]) =>
    samples.reduce((sum, sample) => sum + withoutIdle(sample) - poll * sample.polls, 0) /
    (rounds * BATCH_JOBS)
  const [sending, ending] = [costOf(sent), costOf(ended)]
  return {
    inFlight,
    send: sending,
    poll,
    end: ending,
    job: sending + POLLS_PER_JOB * poll + ending,
    steadyDelay: steady.own,
    busyDelay: busy.own,
    referenceDelay: { steady: steady.reference, busy: busy.reference },
    pollsPerSecond: steadySample.polls / (steadySample.ms / 1000),
    heap,
    rss,
  }
}
