/**
 * A simulated job. Pure.
 * Invariant: its plan is fixed when it is created, and its state is a function of the time, so it needs no timer.
 */

export interface SimulatedJob {
  id: string
  model: string
  input: Record<string, unknown>
  createdAt: number
  plan: JobPlan
}

export interface JobPlan {
  /** Duration of the status `created`. */
  createdMs: number
  /** Duration from submit to end. */
  totalMs: number
  /** Final status, in upstream's spelling. */
  end: string
  /** Upstream's error code of a failure. */
  code?: number
  /** It completes without outputs. */
  empty?: boolean
  nsfw?: boolean
}

/**
 * Reads the plan of a job from directives in its prompt, so that a front end can be developed against the simulator:
 * `sim:fail=1200` (an error code), `sim:end=timeout` (a status), `sim:seconds=60`, `sim:empty`, `sim:nsfw`.
 * Without directives a job completes after 6 to 10 s.
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
/** Retention of jobs and files. */
export const WEEK_MS = 7 * 24 * 60 * 60 * 1000
export const isKept = (job: SimulatedJob, now: number): boolean => age(job, now) < WEEK_MS
/** Whether the job has a video. */
export const isCompleted = (job: SimulatedJob, now: number): boolean =>
  age(job, now) >= job.plan.totalMs && job.plan.end === 'completed' && job.plan.empty !== true

/** Upstream sends a webhook for these final statuses only. */
export const triggersWebhook = ({ plan: { end } }: SimulatedJob): boolean =>
  end === 'completed' || end === 'failed'

/** The prediction as upstream would return it at `now`. */
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
