/**
 * Cancel is a race with everybody who works on a job: the look at its image, its POST, upstream itself, its webhooks, the
 * poller, the reconciler, and a SIGKILL. Here each of them is cut into the steps between which another may come, over
 * the real store and the real decisions, beside a small world that knows what is true: what was sent, what runs, how it
 * ended, what the app was told. One job's every interleaving is walked; those of several jobs are drawn.
 */
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import { graphql } from 'graphql'
import { describe, expect, test } from 'vitest'
import {
  abandoned,
  accepted,
  announced,
  answered,
  imageMissed,
  imageRefused,
  imageSeen,
  imageUntried,
  type Look,
  missed,
  observed,
  unfound,
} from '../src/decisions.ts'
import { createContext, type Services } from '../src/graphql/context.ts'
import { encodeId } from '../src/graphql/id.ts'
import { schema } from '../src/graphql/schema.ts'
import type { StandingPause } from '../src/pause.ts'
import {
  type AppId,
  type Decide,
  isFinal,
  type Job,
  type Observation,
  type Status,
  type SubmitOutcome,
} from '../src/prediction.ts'
import { createApps } from '../src/store/sqlite/apps.ts'
import { openDatabase } from '../src/store/sqlite/database.ts'
import { createEvents } from '../src/store/sqlite/events.ts'
import { openSqlite } from '../src/store/sqlite/open.ts'
import { createPredictions } from '../src/store/sqlite/predictions.ts'
import { createQueue } from '../src/store/sqlite/queue.ts'
import type { Store } from '../src/store/store.ts'
import { searchWindow } from '../src/workers/search.ts'
import {
  add,
  COMPLETED,
  HOUR,
  jobOf,
  log,
  MINUTE,
  newApp,
  PRICE,
  SECOND,
  seeAll,
  seen,
  submits,
  T,
} from './support/store.ts'

const LEASE = MINUTE
const DEADLINE = HOUR
const DAY = 24 * HOUR
const PATIENCE = 10 * MINUTE
const SUBMIT_TIMEOUT = 10 * SECOND
const IMAGE_FRESH = 5 * MINUTE

/** A job as upstream has it: paid for, unless it failed. */
interface Run {
  id: string
  of: Row
  at: number
  isProcessing: boolean
  end: Observation | null
  webhooks: number
}

/** What is true of a prediction, whatever the store says. */
interface Row {
  id: string
  name: string
  /** Claimed for a POST, and answered with a refusal that the store took. */
  claims: number
  refusals: number
  sent: string[]
  /** How it was seen to stand, one after the other. */
  stood: string[]
  /** Whether it takes one of the account's places, by what the store has been told. */
  isPlaced: boolean
  canceled: null | 'free' | 'may still be charged'
  cancels: number
}

type Step = readonly [name: string, run: () => Promise<void>]

/** Somebody in the middle of a job, and how it may go on. */
interface Hand {
  name: string
  job: Job | null
  /** False: its process was taken for dead. It may still write. */
  isAlive: boolean
  steps: Step[]
}

/** How often each of these may happen: what makes every interleaving a finite number of them. */
interface Bounds {
  cancels: number
  claims: number
  images: number
  looks: number
  searches: number
  webhooks: number
  disasters: number
}

interface World {
  /** Who may go on, and what may break in. */
  steps(): Promise<{ ahead: Step[]; aside: Step[] }>
  /** What is so, without moments and ids: two histories that lead to it go on alike. */
  state(): Promise<string>
  /** Then looks whether all is so that must be, between any two steps. */
  take(step: Step): Promise<void>
  /** All of it as it is now, but for what the store has. */
  save(): () => void
  /**
   * Nothing more goes wrong: everybody goes on until there is nothing left to do.
   * @returns what each app was told, from first to last
   */
  settle(): Promise<string[]>
}

interface Options {
  rows: number
  concurrency: number | null
  bounds: Bounds
  from: number
  /** What upstream may answer a POST with; the worst first. */
  answers?: readonly Answer[]
  ends?: readonly End[]
  disasters?: readonly Disaster[]
}

/** Whoever was in the middle of something is gone, or goes on although its rows are another's by now, or is late. */
const DISASTERS = ['SIGKILL', 'taken for dead', 'a long sleep', 'past the deadline'] as const
type Disaster = (typeof DISASTERS)[number]

const REFUSALS = ['unsent', 'account', 'throttled'] as const
type Refused = (typeof REFUSALS)[number]
type Answer = 'accepted' | 'lost' | 'vanished' | 'rejected' | Refused
const ANSWERS: readonly Answer[] = ['accepted', 'lost', 'vanished', 'rejected', ...REFUSALS]
const isRefused = (answer: string): answer is Refused => (REFUSALS as readonly string[]).includes(answer)

const ENDS = {
  completed: COMPLETED,
  failed: { status: 'failed', error: 'GENERATION_FAILED', inferenceMs: 12 },
  'timed out': { status: 'failed', error: 'TIMED_OUT', inferenceMs: null },
  canceled: { status: 'canceled' },
  empty: { status: 'completed', outputs: [], inferenceMs: 7 },
} as const satisfies Record<string, Observation>
type End = keyof typeof ENDS
const END_NAMES = Object.keys(ENDS) as End[]

/** How a prediction must end whose job ended so, and what it costs then. */
const TRUTHS: Record<End, readonly [Status, Job['error'], number]> = {
  completed: ['COMPLETED', null, PRICE],
  failed: ['FAILED', 'GENERATION_FAILED', 0],
  'timed out': ['FAILED', 'TIMED_OUT', PRICE],
  canceled: ['CANCELED', null, PRICE],
  empty: ['FAILED', 'NO_OUTPUT', PRICE],
}

const CANCEL = `mutation ($id: ID!) {
  cancelPrediction(input: { id: $id }) {
    ... on CancelPredictionPayload { mayStillBeCharged prediction { status } }
    ... on AlreadyFinishedError { code prediction { status } }
    ... on NotFoundError { code }
  }
}`

/** As an app does it. */
async function askToCancel(store: Store, app: AppId, id: string, now: number): Promise<unknown> {
  const contextValue = createContext({ store, now: () => now } as Services, app)
  const variableValues = { id: encodeId('Prediction', id) }
  const { data, errors } = await graphql({ schema, source: CANCEL, contextValue, variableValues })
  expect(errors).toBeUndefined()
  return data?.cancelPrediction
}

const standingOf = ({ status, error, cost }: Pick<Job, 'status' | 'error' | 'cost'>): string =>
  `${error ?? status}${cost === 0 ? ' free' : ''}`

async function createWorld(store: Store, { rows: count, concurrency, bounds, from, ...options }: Options) {
  const { answers = ANSWERS, ends = END_NAMES, disasters = DISASTERS } = options
  const app = await newApp(store)
  const left = { ...bounds }
  const hands = new Set<Hand>()
  const runs: Run[] = []
  const heard = new Set<Run>()
  const rows: Row[] = []
  let now = from
  for (let i = 0; i < count; i++)
    rows.push({
      id: (await add(store, app, from + i)).id,
      name: `${i}`,
      claims: 0,
      refusals: 0,
      sent: [],
      stood: ['QUEUED'],
      isPlaced: false,
      canceled: null,
      cancels: 0,
    })
  now += count
  // Where it is not about them, images have been seen.
  if (bounds.images === 0) await seeAll(store, now)

  /** The rows as they are; read once between two steps. */
  let peeked: Job[] | null = null
  const peek = async (): Promise<Job[]> => {
    peeked ??= await Promise.all(rows.map(({ id }) => jobOf(store, id)))
    return peeked
  }
  let pausePeeked: StandingPause | null | undefined
  const peekPause = async (): Promise<StandingPause | null> => {
    pausePeeked ??= await store.paused()
    return pausePeeked
  }
  const forget = () => {
    peeked = null
    pausePeeked = undefined
  }

  const rowOf = ({ id }: { id: string }): Row => rows.find(row => row.id === id)!
  const runOf = (row: Row): Run | undefined => runs.find(run => run.of === row)
  const lease = () => ({ now, leaseUntil: now + LEASE, limit: 1 })

  function hand(name: string, job: Job | null, steps: Step[]): void {
    const one: Hand = { name, job, isAlive: true, steps: [] }
    one.steps = steps.map(([step, run]) => [
      `${name}: ${step}`,
      async () => {
        hands.delete(one)
        // What a process that was taken for dead goes on with is still its own.
        const others = new Set(hands)
        await run()
        if (!one.isAlive) for (const next of hands) if (!others.has(next)) next.isAlive = false
      },
    ])
    hands.add(one)
  }

  // ── The app ──

  async function cancel(row: Row): Promise<void> {
    row.cancels++
    const before = await jobOf(store, row.id)
    const events = (await log(store, app)).length
    const answer = await askToCancel(store, app, row.id, now)
    if (isFinal(before.status)) {
      const prediction = { status: before.status }
      expect(answer).toEqual({ code: 'ALREADY_FINISHED', prediction })
      expect(await jobOf(store, row.id)).toEqual(before)
      expect(await log(store, app)).toHaveLength(events)
      return
    }
    // Whoever claimed it for a POST may have sent it, until a refusal is known.
    const mayStillBeCharged = row.claims > row.refusals
    row.canceled = mayStillBeCharged ? 'may still be charged' : 'free'
    expect(answer).toEqual({ mayStillBeCharged, prediction: { status: 'CANCELED' } })
    expect(await log(store, app)).toHaveLength(events + 1)
  }

  // ── The inspector ──

  async function inspect(): Promise<void> {
    const [job] = await store.claimImages({ ...lease(), imagesSince: now - IMAGE_FRESH, stock: 100 })
    if (job === undefined) return
    const write = (decide: Decide) => async () => void (await store.change(job.id, decide, now, job.fence))
    hand(`inspector ${rowOf(job).name}`, job, [
      ['an image', () => write(imageSeen(now))()],
      ['no image', () => write(imageRefused(now))()],
      ['unreachable', () => write(imageMissed(now, now + 2 * SECOND))()],
      ['offline', () => write(imageUntried(now + 30 * SECOND))()],
    ])
  }

  const placed = () => rows.filter(row => row.isPlaced).length
  async function countPlaces(): Promise<void> {
    const { begun, inFlight } = await store.tally()
    expect(begun + inFlight, 'places taken').toBe(placed())
  }

  // ── The submitter ──

  async function submit(): Promise<void> {
    await countPlaces()
    const claim = { ...lease(), limit: 2, concurrency, perMinute: null, imagesSince: now - IMAGE_FRESH }
    for (const job of await store.claimSubmits(claim)) {
      const row = rowOf(job)
      row.claims++
      row.isPlaced = true
      const post = (answer: Answer): Step => [answer, async () => send(job, answer)]
      hand(`submitter ${row.name}`, job, answers.map(post))
    }
    expect(placed()).toBeLessThanOrEqual(concurrency ?? Infinity)
  }

  function send(job: Job, wanted: Answer): void {
    const row = rowOf(job)
    // The connection of whoever slept so long is gone.
    const answer = now > job.begunAt! + SUBMIT_TIMEOUT ? 'vanished' : wanted
    expect(row.canceled, 'a job is sent that is never to be').not.toBe('free')
    expect(
      row.sent.filter(sent => !isRefused(sent)),
      'a job is sent twice',
    ).toEqual([])
    row.sent.push(answer)
    const isTaken = answer === 'accepted' || answer === 'lost'
    const run: Run = { id: `up-${row.id}`, of: row, at: now, isProcessing: false, end: null, webhooks: 0 }
    if (isTaken) runs.push(run)
    hand(`submitter ${row.name} ${answer}`, job, [['writes', () => keep(job, answer, run)]])
  }

  async function keep(job: Job, answer: Answer, run: Run): Promise<void> {
    const row = rowOf(job)
    const outcome: SubmitOutcome =
      answer === 'accepted'
        ? { kind: answer, upstreamId: run.id }
        : answer === 'throttled'
          ? { kind: answer, retryAfterMs: null }
          : answer === 'lost' || answer === 'vanished'
            ? { kind: 'unknown' }
            : { kind: answer }
    const next = answer === 'accepted' ? now + 5 * SECOND : searchWindow(job.begunAt!, SUBMIT_TIMEOUT).to
    const changed = await store.change(job.id, answered(outcome, now, next), now, job.fence)
    if (changed === null) return
    row.isPlaced = ['accepted', 'lost', 'vanished'].includes(answer)
    if (isRefused(answer) || answer === 'rejected') row.refusals++
    if (answer === 'accepted' && heard.has(run)) await store.change(job.id, announced(run.id, now), now)
  }

  // ── Upstream ──

  const upstream = (run: Run): Step[] => {
    const name = `upstream ${run.of.name}`
    if (run.end !== null) {
      if (run.webhooks === bounds.webhooks) return []
      return [[`${name}: webhook`, async () => receive(run)]]
    }
    const become = (change: Partial<Run>) => async () => void Object.assign(run, change)
    const over = ends.map((end): Step => [`${name}: ${end}`, become({ end: ENDS[end] })])
    return run.isProcessing ? over : [...over, [`${name}: processing`, become({ isProcessing: true })]]
  }

  async function receive(run: Run): Promise<void> {
    run.webhooks++
    heard.add(run)
    const id = (await store.ownerOf(run.id)) ?? run.of.id
    hand(`receiver ${run.of.name}`, null, [
      [
        'writes',
        async () => {
          const wasKnown = (await jobOf(store, id)).upstreamId !== null
          const changed = await store.change(id, announced(run.id, now), now)
          if (changed !== null && !wasKnown) run.of.isPlaced = true
        },
      ],
    ])
  }

  // ── The poller ──

  async function poll(): Promise<void> {
    const [job] = await store.claimPolls(lease())
    if (job === undefined) return
    const { name } = rowOf(job)
    const run = runOf(rowOf(job))
    const looked = (what: string, seen: Observation | null) =>
      hand(`poller ${name} ${what}`, job, [['writes', () => note(job, seen)]])
    const seen = (): Observation => run?.end ?? { status: run?.isProcessing ? 'processing' : 'waiting' }
    hand(`poller ${name}`, job, [
      ['looks', async () => looked(`${seen().status} ${run?.end?.status}`, seen())],
      ['sees nothing', async () => looked('nothing', null)],
    ])
  }

  async function note(job: Job, seen: Observation | null): Promise<void> {
    const row = rowOf(job)
    const look: Look = {
      now,
      next: now + (job.following === 'late' ? DAY : 5 * SECOND),
      deadlineMs: DEADLINE,
    }
    const decide = seen === null ? missed(look, false) : observed(seen, look)
    const foreseen = decide(job)
    if (
      foreseen !== null &&
      Object.keys(foreseen).every(field => field === 'dueAt' || field === 'runningAt')
    ) {
      const { dueAt = look.next, runningAt = job.runningAt } = foreseen
      return store.putOff([{ id: job.id, fence: job.fence, dueAt, runningAt }])
    }
    const before = await jobOf(store, job.id)
    if ((await store.change(job.id, decide, now, job.fence)) === null) return
    const isEnd = seen !== null && seen.status !== 'waiting' && seen.status !== 'processing'
    const isEmpty = seen?.status === 'completed' && seen.outputs.length === 0
    const age = now - before.submittedAt!
    if (isEnd) row.isPlaced &&= isEmpty && before.emptySince === null
    else if (age >= (seen === null ? 2 : 1) * DEADLINE) row.isPlaced = false
  }

  // ── The reconciler ──

  async function reconcile(): Promise<void> {
    const inHand = [...hands].filter(({ isAlive, name }) => isAlive && name.startsWith('submitter'))
    const except = inHand.map(({ job }) => job!.id)
    const [left] = await store.claimAbandoned({ now, leaseUntil: now, limit: 1, except })
    if (left !== undefined) {
      const row = rowOf(left)
      const to = searchWindow(left.begunAt!, SUBMIT_TIMEOUT).to
      const take = async () => {
        await store.change(left.id, abandoned(now, to), now, left.fence)
      }
      return hand(`reconciler ${row.name} left`, left, [['takes over', take]])
    }
    const [job] = await store.claimSought(lease())
    if (job !== undefined) search(job)
  }

  /** As the reconciler does it: the list, then the rivals, then the owners. */
  function search(job: Job): void {
    const { name } = rowOf(job)
    const { from, to, width } = searchWindow(job.begunAt!, SUBMIT_TIMEOUT)
    /** @param found null where the list could not be read */
    const settled = (what: string, found: Run[] | null, isAlone = true) =>
      hand(`reconciler ${name} ${what}`, job, [['writes', () => conclude(job, found, isAlone)]])
    const list = async () => {
      if (now < to) return settled('too early', null)
      const listed = runs.filter(run => run.at >= from && run.at <= to)
      const rivals = async () => {
        const isAlone = !(await store.hasRival(job, job.begunAt! - width, job.begunAt! + width))
        settled(`${isAlone ? 'alone' : 'not alone'} ${listed.length}`, listed, isAlone)
      }
      hand(`reconciler ${name} listed ${listed.length}`, job, [['asks for rivals', rivals]])
    }
    hand(`reconciler ${name}`, job, [
      ['lists', list],
      ['sees nothing', async () => settled('nothing', null)],
    ])
  }

  async function conclude(job: Job, listed: Run[] | null, isAlone: boolean): Promise<void> {
    const unowned: Run[] = []
    for (const run of listed ?? []) if ((await store.ownerOf(run.id)) === null) unowned.push(run)
    const [only, another] = unowned
    if (only !== undefined && another === undefined && isAlone) {
      const changed = await store.change(job.id, accepted(only.id, now), now, job.fence)
      if (changed !== null) rowOf(job).isPlaced = true
      return
    }
    const { to } = searchWindow(job.begunAt!, SUBMIT_TIMEOUT)
    const next = now < to ? to : now + (now < to + HOUR ? 5 * MINUTE : DAY)
    const isAbsent = listed !== null && only === undefined
    const decide = unfound({ now, next, patienceMs: PATIENCE }, isAbsent)
    const changed = await store.change(job.id, decide, now, job.fence)
    if (changed !== null && (isAbsent || now - job.begunAt! >= PATIENCE)) rowOf(job).isPlaced = false
  }

  // ── What holds submits back ──

  async function probe(): Promise<void> {
    const pause = await store.claimProbe(now, () => now + SECOND)
    if (pause !== null) hand('probe', null, [['reads', async () => void (await store.resume(pause.version))]])
  }

  // ── What may happen ──

  const disaster = (name: Disaster): Step => [
    name,
    async () => {
      left.disasters--
      if (name === 'SIGKILL' || name === 'taken for dead') heard.clear()
      if (name === 'SIGKILL') hands.clear()
      if (name === 'taken for dead') for (const one of hands) one.isAlive = false
      now += name === 'past the deadline' ? DEADLINE : 2 * LEASE
    },
  ]

  const isWaiting = (job: Job) => job.status === 'QUEUED' && job.submission === 'none'
  /** Somebody has something to do about it, now or later. */
  const isOpen = (job: Job) => isWaiting(job) || job.submission === 'begun' || job.following !== null
  const isSeen = (job: Job) => job.imageSeenAt !== null && job.imageSeenAt > now - IMAGE_FRESH

  /** @param isEager those too who will find nothing to claim */
  async function claims(isEager = false): Promise<Step[]> {
    const jobs = await peek()
    const due = jobs.filter(job => job.dueAt <= now)
    const hasDue = (is: (job: Job) => boolean) => isEager || due.some(is)
    const pause = await peekPause()
    const isPaused = pause !== null && !pause.trial
    const bounded = (bound: keyof Bounds, run: () => Promise<void>) => async () => {
      left[bound]--
      await run()
    }
    const steps: (Step | false)[] = [
      !isPaused &&
        left.images > 0 &&
        hasDue(job => isWaiting(job) && !isSeen(job)) && ['inspector', bounded('images', inspect)],
      !isPaused &&
        left.claims > 0 &&
        hasDue(job => isWaiting(job) && isSeen(job)) && ['submitter', bounded('claims', submit)],
      left.looks > 0 &&
        hasDue(job => job.submission === 'accepted' && job.following !== null) && [
          'poller',
          bounded('looks', poll),
        ],
      left.searches > 0 &&
        hasDue(
          job => job.submission === 'begun' || (job.submission === 'unknown' && job.following !== null),
        ) && ['reconciler', bounded('searches', reconcile)],
      isPaused && pause.until <= now && ['probe', probe],
    ]
    return steps.filter(step => step !== false)
  }

  /** What must be so between any two steps. */
  async function check(): Promise<void> {
    if (rows.some(row => row.isPlaced && row.canceled !== null)) await countPlaces()
    for (const [i, job] of (await peek()).entries()) {
      const row = rows[i]!
      const standing = standingOf(job)
      if (row.stood.at(-1) !== standing) row.stood.push(standing)
      const isPlaced = job.submission === 'begun' || job.following === 'closely'
      expect(isPlaced, 'it takes a place').toBe(row.isPlaced)
      const run = runOf(row)
      if (row.canceled !== null) expect(job.status).toBe('CANCELED')
      if (row.canceled === 'free') expect(job).toMatchObject({ cost: 0, submission: 'none', following: null })
      if (job.upstreamId !== null) expect(job.upstreamId, 'a stranger’s video').toBe(run?.id)
      if (job.cost === 0 && run !== undefined) expect(run.end).toBe(ENDS.failed)
      // There is always a moment at which somebody will look after it, until nothing more can be known.
      if (isOpen(job)) expect(job.dueAt, 'stuck').toBeLessThanOrEqual(now + DAY)
      else expect(isFinal(job.status), 'forgotten').toBe(true)
    }
  }

  const world: World = {
    async steps() {
      now++
      const cancels = rows
        .filter(row => row.cancels < bounds.cancels)
        .map((row): Step => [`app: cancels ${row.name}`, () => cancel(row)])
      return {
        ahead: [...[...hands].flatMap(({ steps }) => steps), ...(await claims()), ...runs.flatMap(upstream)],
        aside: [...cancels, ...(left.disasters > 0 ? disasters.map(disaster) : [])],
      }
    },

    async state() {
      const jobs = await peek()
      const pause = await peekPause()
      const standings = jobs.map(job => [
        [job.status, job.error, job.cost, job.submission, job.following, job.upstreamId !== null],
        [job.dueAt <= now, isSeen(job), job.imageTries, job.emptySince !== null, job.startedAt !== null],
        [job.begunAt !== null, job.begunAt !== null && now > job.begunAt + SUBMIT_TIMEOUT],
        job.submittedAt !== null && now > job.submittedAt + DEADLINE,
      ])
      const held = [...hands].map(({ name, isAlive, job }) => {
        const age = job === null ? 0 : jobs.find(({ id }) => id === job.id)!.fence - job.fence
        const known = job && [
          job.following,
          job.emptySince !== null,
          now > (job.begunAt ?? now) + SUBMIT_TIMEOUT,
        ]
        return [name, isAlive, age, known]
      })
      return JSON.stringify([
        left,
        standings,
        held.map(one => JSON.stringify(one)).sort(),
        runs.map(({ of, isProcessing, end, webhooks }) => [of.name, isProcessing, end, webhooks]),
        runs.map(run => [heard.has(run), now > run.at + DEADLINE]),
        rows.map(({ id: _, ...truth }) => truth),
        pause && [pause.reason, pause.trial, pause.trialOf !== null, pause.until <= now],
      ])
    },

    async take([, run]) {
      await run()
      forget()
      await check()
    },

    save() {
      const kept = { now, left: { ...left }, heard: [...heard], hands: [...hands] }
      const living = kept.hands.filter(one => one.isAlive)
      const copy = (row: Row): Row => ({ ...row, sent: [...row.sent], stood: [...row.stood] })
      const truths = rows.map(copy)
      const ran = runs.map(run => [run, { ...run }] as const)
      return () => {
        forget()
        now = kept.now
        Object.assign(left, kept.left)
        for (const [i, truth] of truths.entries()) Object.assign(rows[i]!, copy(truth))
        runs.splice(0, Infinity, ...ran.map(([run, truth]) => Object.assign(run, truth)))
        heard.clear()
        for (const run of kept.heard) heard.add(run)
        hands.clear()
        for (const one of kept.hands) {
          one.isAlive = living.includes(one)
          hands.add(one)
        }
      }
    },

    async settle() {
      for (const one of hands) if (!one.isAlive) hands.delete(one)
      Object.assign(left, { images: 1e3, claims: 1e3, looks: 1e3, searches: 1e3 })
      for (let rounds = 0; ; rounds++) {
        expect(rounds, 'it never settles').toBeLessThan(1000)
        for (const run of runs) run.end ??= ENDS.completed
        now++
        // All claim in turn, and whoever got something goes through with it.
        if (hands.size === 0) {
          for (const [, claim] of await claims(rounds % 8 === 0)) await claim()
          forget()
        }
        const [one] = hands
        if (one !== undefined) {
          await world.take(one.steps[0]!)
          continue
        }
        const open = (await peek()).filter(isOpen)
        const pause = await peekPause()
        const moments = open.map(job => job.dueAt)
        // A trial waits for a job to try it with.
        if (pause !== null && !pause.trial) moments.push(pause.until)
        const later = moments.filter(moment => moment > now)
        if (open.length === 0 && later.length === 0) break
        expect(later, 'something is open, and nothing will be due').not.toEqual([])
        now = Math.min(...later)
      }
      return Promise.all(rows.map(row => isTrue(row)))
    },
  }

  /** At the end, the row and the ledger tell the same. */
  async function isTrue(row: Row): Promise<string> {
    const { status, error, cost, upstreamId, following } = await jobOf(store, row.id)
    const ran = runs.filter(run => run.of === row)
    expect(ran.length, 'charged twice').toBeLessThanOrEqual(1)
    expect(following).toBeNull()
    const is = [status, error, cost]
    if (row.canceled !== null) {
      const isFree = row.canceled === 'free' || row.claims === row.refusals
      expect(is).toEqual(['CANCELED', null, isFree ? 0 : PRICE])
    } else if (upstreamId !== null) {
      const end = END_NAMES.find(name => ENDS[name] === ran[0]!.end)!
      expect(is).toEqual(TRUTHS[end])
    } else if (row.claims > row.refusals) expect(is).toEqual(['FAILED', 'SUBMISSION_UNKNOWN', PRICE])
    else if (row.sent.includes('rejected')) expect(is).toEqual(['FAILED', 'INVALID_INPUT', 0])
    else
      expect([
        ['FAILED', 'INVALID_INPUT', 0],
        ['FAILED', 'IMAGE_UNREACHABLE', 0],
      ]).toContainEqual(is)

    const events = (await log(store, app)).filter(({ prediction }) => prediction.id === row.id)
    const told = events.map(({ prediction: { status, error, cost } }) => ({ status, error, cost }))
    expect(told[0]).toEqual({ status: 'QUEUED', error: null, cost: PRICE })
    expect(told.at(-1)).toEqual({ status, error, cost })
    for (const [i, { previousStatus }] of events.entries()) {
      expect(previousStatus).toBe(i === 0 ? null : told[i - 1]!.status)
      if (i === 0 || !isFinal(told[i - 1]!.status)) continue
      // The end was told. What comes after corrects a guess, or says that nothing was sent.
      const [before, then] = [told[i - 1]!, told[i]!]
      if (before.status === 'CANCELED') {
        expect(before.cost).toBe(PRICE)
        expect(then).toEqual({ ...before, cost: 0 })
      } else {
        expect(['SUBMISSION_UNKNOWN', 'TIMED_OUT']).toContain(before.error)
        expect(then).not.toEqual(before)
        expect(isFinal(then.status)).toBe(true)
      }
    }
    const stood = events.map(({ prediction }) => standingOf(prediction))
    // An event for each, and none for nothing.
    expect(stood).toEqual(row.stood)
    return stood.join(', ')
  }

  return world
}

/**
 * Walks every interleaving of one job's steps, depth first: each state that is new is gone on from by each step that may
 * be next, and back to it. Savepoints hold the store's part of it, under which its own transactions are nested. Where
 * nothing more may happen, everything settles.
 * @returns what the app may be told, from first to last
 */
async function walk(options: Omit<Options, 'rows' | 'concurrency' | 'from'>) {
  const { db, close } = openDatabase(':memory:', { alone: false })
  const ring = () => {}
  const parts = { ...createPredictions(db, ring), ...createQueue(db, ring), ...createEvents(db) }
  const store = { ...parts, ...createApps(db) } as Store
  const world = await createWorld(store, { ...options, rows: 1, concurrency: 1, from: T })
  const known = new Set<string>()
  const path: string[] = []
  const told = new Set<string>()

  async function goOn(): Promise<void> {
    const { ahead, aside } = await world.steps()
    const next = [...ahead, ...aside]
    const state = await world.state()
    if (known.has(state)) return
    known.add(state)
    const back = world.save()
    const name = `at${path.length}`
    db.run(sql.raw(`savepoint ${name}`))
    const tried = async (what: string, run: () => Promise<void>) => {
      path.push(what)
      await run()
      path.pop()
      db.run(sql.raw(`rollback to ${name}`))
      back()
    }
    for (const step of next)
      await tried(step[0], async () => {
        await world.take(step)
        await goOn()
      })
    if (next.length === 0) {
      await tried('settles', async () => {
        for (const one of await world.settle()) told.add(one)
      })
    }
    db.run(sql.raw(`release ${name}`))
  }

  try {
    await goOn()
  } catch (error) {
    throw new Error(`after ${path.join(' · ')}: ${error}`, { cause: error })
  } finally {
    close()
  }
  return told
}

test("another app's job is not there to be canceled", async () => {
  const store = openSqlite(':memory:', () => {})
  const { id } = await add(store, await newApp(store))
  const before = await jobOf(store, id)
  expect(await askToCancel(store, await newApp(store), id, T)).toEqual({ code: 'NOT_FOUND' })
  expect(await jobOf(store, id)).toEqual(before)
  await store.close()
})

test('a job whose POST has no answer is claimed for a search alone, whatever else waits', async () => {
  const store = openSqlite(':memory:', () => {})
  const app = await newApp(store)
  const { id } = await add(store, app)
  const [{ fence } = {} as Job] = await submits(store, T)
  await store.change(id, answered({ kind: 'unknown' }, T, T), T, fence)
  await store.resume((await store.paused())!.version)
  const other = await add(store, app)
  const at = T + SECOND
  expect((await submits(store, at, { limit: 9 })).map(job => job.id)).toEqual([other.id])
  const claim = { now: at, leaseUntil: at, limit: 9 }
  expect(await store.claimPolls(claim)).toEqual([])
  expect((await store.claimSought(claim)).map(job => job.id)).toEqual([id])
  await store.close()
})

test('a canceled job that was sent keeps its place until upstream says that it ended', async () => {
  const store = openSqlite(':memory:', () => {})
  const app = await newApp(store)
  const ids = [(await add(store, app)).id, (await add(store, app)).id]
  const claim = () => submits(store, T + SECOND, { concurrency: 1 })
  const [first] = await claim()
  const cancel = () => askToCancel(store, app, first!.id, T)
  expect(await cancel()).toMatchObject({ mayStillBeCharged: true })
  expect(await claim()).toEqual([])
  await store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'up' }, T, T), T, first!.fence)
  expect(await cancel()).toMatchObject({ code: 'ALREADY_FINISHED' })
  expect(await claim()).toEqual([])
  await store.change(first!.id, seen(COMPLETED, T, T), T)
  expect(await jobOf(store, first!.id)).toMatchObject({ status: 'CANCELED', outputs: [], following: null })
  expect((await claim()).map(({ id }) => id)).toEqual(ids.filter(id => id !== first!.id))
  await store.close()
})

const NEVER: Bounds = { cancels: 0, claims: 0, images: 0, looks: 0, searches: 0, webhooks: 0, disasters: 0 }

describe('every interleaving of a cancel', () => {
  /** And what the app may be told, from first to last. */
  test.each<[string, Parameters<typeof walk>[0], string[]]>([
    [
      'with the look at its image',
      { bounds: { ...NEVER, cancels: 2, images: 2, claims: 1 }, answers: ['accepted'], ends: ['completed'] },
      ['CANCELED', 'CANCELED free', 'CREATED, CANCELED', 'INVALID_INPUT free'],
    ],
    [
      'with each answer to its POST',
      { bounds: { ...NEVER, cancels: 2, claims: 1, webhooks: 1 }, ends: ['completed'] },
      ['CANCELED', 'CANCELED free', 'CANCELED, CANCELED free', 'CREATED, CANCELED', 'INVALID_INPUT free'],
    ],
    [
      'with looks and webhooks',
      {
        bounds: { ...NEVER, cancels: 1, claims: 1, looks: 2, webhooks: 1 },
        answers: ['accepted'],
        ends: ['completed', 'failed', 'empty'],
      },
      [
        'CANCELED',
        'CANCELED free',
        'CREATED, CANCELED',
        'CREATED, COMPLETED',
        'CREATED, GENERATION_FAILED free',
        'CREATED, NO_OUTPUT',
      ],
    ],
    [
      'with a SIGKILL, and whoever takes over',
      {
        bounds: { ...NEVER, cancels: 1, claims: 1, searches: 1, disasters: 1 },
        answers: ['accepted', 'account'],
        ends: ['completed'],
        disasters: ['SIGKILL', 'taken for dead'],
      },
      ['CANCELED', 'CANCELED free', 'CANCELED, CANCELED free', 'CREATED, CANCELED'],
    ],
    [
      'with a SIGKILL, searches and a webhook',
      {
        bounds: { ...NEVER, cancels: 1, claims: 1, searches: 2, webhooks: 1, disasters: 1 },
        answers: ['lost'],
        ends: ['completed'],
        disasters: ['SIGKILL'],
      },
      ['CANCELED', 'CANCELED free', 'CREATED, CANCELED'],
    ],
    [
      'with a deadline, looks and a webhook',
      {
        bounds: { ...NEVER, cancels: 1, claims: 1, looks: 1, webhooks: 1, disasters: 1 },
        answers: ['accepted'],
        ends: ['completed'],
        disasters: ['past the deadline'],
      },
      [
        'CANCELED',
        'CANCELED free',
        'CREATED, CANCELED',
        'CREATED, COMPLETED',
        'CREATED, TIMED_OUT, COMPLETED',
      ],
    ],
  ])('%s ends in what is true', async (_, options, told) => {
    expect([...(await walk(options))].sort()).toEqual(told.map(then => `QUEUED, ${then}`))
  })
})

const plan = fc.record({
  rows: fc.integer({ min: 1, max: 3 }),
  concurrency: fc.constantFrom(1, 2, null),
  cancels: fc.integer({ min: 0, max: 2 }),
  /** Half of the time they have been seen. */
  images: fc.constantFrom(0, 10),
  picks: fc.array(fc.nat(4000), { minLength: 10, maxLength: 60, size: 'max' }),
})
const PLENTY: Omit<Bounds, 'cancels' | 'images'> = {
  claims: 10,
  looks: 20,
  searches: 10,
  webhooks: 2,
  disasters: 4,
}

test('cancels of several jobs, among all that goes on beside and goes wrong, end in what is true', async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ picks, cancels, images, ...options }) => {
      const store = openSqlite(':memory:', () => {})
      const names: string[] = []
      try {
        const world = await createWorld(store, {
          ...options,
          bounds: { ...PLENTY, cancels, images },
          from: T,
        })
        for (const pick of picks) {
          const { ahead, aside } = await world.steps()
          // Most go on, else hardly a job would come far.
          const steps = pick % 8 > 0 && ahead.length > 0 ? ahead : [...aside, ...ahead]
          const step = steps[(pick >> 3) % steps.length]
          if (step === undefined) break
          names.push(step[0])
          await world.take(step)
        }
        await world.settle()
      } catch (error) {
        throw new Error(`after ${names.join(' · ')}: ${error}`, { cause: error })
      } finally {
        await store.close()
      }
    }),
    { numRuns: 30, includeErrorInReport: true },
  )
})
