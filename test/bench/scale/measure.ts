/**
 * The cost of a job with few and with many jobs in flight: 50 at a time are sent and 50 end, so that their number
 * stays.
 * Each size has its own gateway process and database. CPU is the process's, without its CPU when idle.
 * Invariant: polls come at the same rate in both sizes, so only the number of jobs differs.
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
  /** Interval between the polls of one job. */
  pollIntervalMs: number
}

export interface ScaleSizes {
  few: ScaleLoad
  many: ScaleLoad
  steadyMs: number
  /** Each round sends and ends 50 jobs. */
  rounds: number
}

export interface ScaleResult {
  inFlight: number
  /** CPU in ms to create a job, check its image and submit it. */
  send: number
  /** CPU of a poll without a change. */
  poll: number
  /** CPU of a job's changes to PROCESSING and to FAILED. */
  end: number
  job: number
  /** Event-loop delay, p99, ms: while only polls happen, and while jobs are submitted and end as well. */
  steadyDelay: number
  busyDelay: number
  /** The same of a process that only waits. */
  referenceDelay: { steady: number; busy: number }
  pollsPerSecond: number
  /** Bytes, after garbage collection. */
  heap: number
  rss: number
}

/** Polls of a job by the learned schedule. */
export const POLLS_PER_JOB = 12
const BATCH_JOBS = 50
/** Pause between two creations, ms; and every sixth poll reports a change. */
const CREATE_INTERVAL_MS = 20
const POLLS_BETWEEN_CHANGES = 6
/** Rounds until all code is compiled. */
const WARM_UP_ROUNDS = 3
const IDLE_MS = 2000
const CHECK_INTERVAL_MS = 20
/** Upstream's answers are written within this time. */
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
    const { polls } = await upstream.call('counts')
    return { polls: polls - before.polls, ...lap }
  }

  async function send(): Promise<void> {
    const { submits } = await upstream.call('counts')
    await gateway.call('create', BATCH_JOBS, CREATE_INTERVAL_MS)
    while ((await upstream.call('counts')).submits < submits + BATCH_JOBS) await pause(CHECK_INTERVAL_MS)
    await pause(SETTLE_MS)
  }

  async function reportStatus(status: ReportedStatus): Promise<void> {
    await upstream.call('report', status, BATCH_JOBS, POLLS_BETWEEN_CHANGES)
    while ((await upstream.call('counts')).unreported > 0) await pause(CHECK_INTERVAL_MS)
    await pause(SETTLE_MS)
  }

  const referenceMonitor = createDelayMonitor()
  const readDelays = async () => ({
    own: await gateway.call('eventLoopDelay'),
    reference: referenceMonitor.takeP99(),
  })

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
