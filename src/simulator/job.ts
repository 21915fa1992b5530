/**
 * A simulated job: what it will do is fixed when it is made, how it stands is a function of the time. No timers.
 */

export interface SimulatedJob {
  id: string
  model: string
  input: Record<string, unknown>
  createdAt: number
  plan: JobPlan
}

export interface JobPlan {
  /** Ms it stays `created`. */
  createdMs: number
  /** Ms from submit to end. */
  totalMs: number
  /** The status it ends with, as upstream spells it. */
  end: string
  /** Business code of a failure. */
  code?: number
  /** It completes and has no output. */
  empty?: boolean
  nsfw?: boolean
}

/**
 * Words in a prompt that steer a job, for those who build a front end against it:
 * `sim:fail=1200` (a business code), `sim:end=timeout` (a status), `sim:seconds=60`, `sim:empty`, `sim:nsfw`.
 */
export function planOf(prompt: string, random: number): JobPlan {
  const option = (name: string) => new RegExp(`\\bsim:${name}=(\\w+(?:\\.\\d+)?)`).exec(prompt)?.[1]
  const seconds = option('seconds')
  const totalMs =
    seconds === undefined ? 6000 + Math.round(4000 * random) : Number.parseFloat(seconds) * 1000 || 0
  const code = option('fail')
  return {
    createdMs: Math.round(totalMs / 6),
    totalMs,
    end: option('end') ?? (code === undefined ? 'completed' : 'failed'),
    ...(code !== undefined && { code: Number(code) }),
    ...(prompt.includes('sim:empty') && { empty: true }),
    ...(prompt.includes('sim:nsfw') && { nsfw: true }),
  }
}

const age = (job: SimulatedJob, now: number) => now - job.createdAt
/** Jobs and files are kept this long. */
export const WEEK_MS = 7 * 24 * 60 * 60 * 1000
export const isKept = (job: SimulatedJob, now: number): boolean => age(job, now) < WEEK_MS
/** Whether there is a video. */
export const isCompleted = (job: SimulatedJob, now: number): boolean =>
  age(job, now) >= job.plan.totalMs && job.plan.end === 'completed' && job.plan.empty !== true

/** Of the ends only these are told to a webhook. */
export const triggersWebhook = ({ plan: { end } }: SimulatedJob): boolean =>
  end === 'completed' || end === 'failed'

/** The prediction as upstream would answer with it at `now`. */
export function predictionOf(job: SimulatedJob, now: number, origin: string): object {
  const { plan } = job
  const ended = age(job, now) >= plan.totalMs
  const failed = ended && plan.end === 'failed'
  const inference = ended ? plan.totalMs - plan.createdMs : 0
  return {
    id: job.id,
    model: job.model,
    outputs: isCompleted(job, now) ? [`${origin}/files/${job.id}.mp4`] : [],
    urls: { get: `${origin}/api/v3/predictions/${job.id}/result` },
    has_nsfw_contents: isCompleted(job, now) ? [plan.nsfw === true] : [],
    status: ended ? plan.end : age(job, now) >= plan.createdMs ? 'processing' : 'created',
    // Upstream writes nanoseconds.
    created_at: new Date(job.createdAt).toISOString().replace('Z', '112031Z'),
    error: failed ? `simulated failure ${plan.code ?? ''}`.trim() : '',
    ...(failed && plan.code !== undefined && { code: plan.code }),
    executionTime: inference,
    timings: { inference },
  }
}
