/**
 * A store in memory that loads the declared facts and carries out the planned writes, and nothing else. It shows what
 * plans do without an engine.
 */
import { type AppLimits, startOfUtcMonth, usageNeeded } from '../../src/domain/app-limits.ts'
import type { ConcurrencyLimit } from '../../src/domain/concurrency-limit.ts'
import type { Idempotency } from '../../src/domain/idempotency.ts'
import type { NewEvent, PlannedWrite } from '../../src/domain/plan.ts'
import { changeFactsNeeded, findStateChange, planChange } from '../../src/domain/plan-change.ts'
import {
  type CreateFacts,
  type CreateRequest,
  type CreateResult,
  createFactsNeeded,
  planCreate,
} from '../../src/domain/plan-create.ts'
import { hasSlot, type Job, type Transition } from '../../src/domain/prediction.ts'
import type { SubmitCircuit } from '../../src/domain/submit-circuit.ts'

interface StoredJob {
  job: Job
  idempotency: Idempotency | null
}

/** @param limits of every app */
export function createPlanModel(limits: AppLimits) {
  const rows = new Map<string, StoredJob>()
  const events: NewEvent[] = []
  const spend = new Map<string, number>()
  const released: { appId: string; heldMs: number }[] = []
  const deletedAttempts: { predictionId: string; attempt: number }[] = []
  let circuits = 0
  let submitCircuit: SubmitCircuit | null = null
  let concurrencyLimit: ConcurrencyLimit | null = null

  const jobs = () => [...rows.values()].map(({ job }) => job)
  const spendKey = (appId: string, month: number) => `${appId} ${month}`
  const rowOfVersion = (id: string, version: number): StoredJob => {
    const row = rows.get(id)!
    if (row.job.version !== version) throw new Error(`${id} has the version ${row.job.version}`)
    return row
  }

  function execute(write: PlannedWrite): void {
    switch (write.kind) {
      case 'insertPrediction':
        rows.set(write.job.id, { job: write.job, idempotency: write.idempotency })
        break
      case 'updatePrediction': {
        const row = rowOfVersion(write.id, write.version)
        row.job = { ...row.job, ...write.fields, version: write.version + 1 } as Job
        break
      }
      case 'forgetIdempotencyKey': {
        const row = rowOfVersion(write.id, write.version)
        row.job = { ...row.job, version: write.version + 1 }
        row.idempotency = null
        break
      }
      case 'insertEvent':
        events.push(write.event)
        break
      case 'addSpend': {
        const key = spendKey(write.appId, write.month)
        spend.set(key, (spend.get(key) ?? 0) + write.amount)
        break
      }
      case 'releaseSlot':
        released.push({ appId: write.appId, heldMs: write.heldMs })
        break
      case 'deleteSubmitAttempt':
        deletedAttempts.push({ predictionId: write.predictionId, attempt: write.attempt })
        break
      case 'openSubmitCircuit':
        submitCircuit = { ...write.circuit, version: ++circuits }
        break
      case 'closeSubmitCircuit':
        if (submitCircuit?.version === write.version) submitCircuit = null
        break
      case 'setConcurrencyLimit':
        concurrencyLimit = write.limit
        break
      case 'startBacklog':
        break
    }
  }

  function createFactsOf(request: CreateRequest): CreateFacts {
    const { draft, idempotency, now } = request
    const holder = [...rows.values()].find(
      row =>
        idempotency !== null &&
        row.job.appId === draft.appId &&
        row.idempotency?.key === idempotency.key &&
        row.idempotency.restrictionKey === idempotency.restrictionKey,
    )
    const keyHolder = holder ? { prediction: holder.job, fingerprint: holder.idempotency!.fingerprint } : null
    const needed = createFactsNeeded(request, keyHolder)
    const own = jobs().filter(({ appId }) => appId === draft.appId)
    const { spendMonth, queued, recentSubmit } = usageNeeded(limits, now)
    const isWaiting = ({ status, submission }: Job) => status === 'QUEUED' && submission === 'none'
    return {
      keyHolder,
      ...(needed.tokenSubmits && {
        tokenSubmits: jobs().filter(({ tokenId }) => tokenId === draft.tokenId).length,
      }),
      ...(needed.limits && {
        limits,
        usage: {
          ...(spendMonth !== null && { spent: spend.get(spendKey(draft.appId, spendMonth)) ?? 0 }),
          ...(queued && { queued: own.filter(isWaiting).length }),
          ...(recentSubmit && {
            recentSubmitAt:
              own
                .map(({ createdAt }) => createdAt)
                .filter(at => at > recentSubmit.after && at <= recentSubmit.until)
                .sort((a, b) => b - a)[recentSubmit.skip] ?? null,
          }),
        },
      }),
    }
  }

  return {
    create(request: CreateRequest): CreateResult {
      const { result, writes } = planCreate(request, createFactsOf(request))
      for (const write of writes) execute(write)
      return result
    },
    change(id: string, transition: Transition, now: number, fence: number | null = null): Job | null {
      const { job } = rows.get(id)!
      const stateChange = findStateChange(job, transition, fence)
      if (stateChange === null) return null
      const needed = changeFactsNeeded(stateChange)
      const facts = {
        ...(needed.submitCircuit && { submitCircuit }),
        ...(needed.concurrencyLimit && { concurrencyLimit }),
        ...(needed.activeJobs && { activeJobs: jobs().filter(hasSlot).length }),
      }
      const { result, writes } = planChange(job, stateChange, facts, now)
      for (const write of writes) execute(write)
      return result
    },
    /** A claim for a POST: no plan of this kind exists, because it is one statement of an engine. */
    beginSubmit(id: string, now: number): void {
      const row = rows.get(id)!
      row.job = {
        ...row.job,
        version: row.job.version + 1,
        fence: row.job.fence + 1,
        submission: 'begun',
        submitStartedAt: now,
        submitAttempts: row.job.submitAttempts + 1,
      }
    },
    jobs,
    job: (id: string): Job => rows.get(id)!.job,
    events,
    released,
    deletedAttempts,
    spent: (appId: string, moment: number) => spend.get(spendKey(appId, startOfUtcMonth(moment))) ?? 0,
    get submitCircuit() {
      return submitCircuit
    },
    get concurrencyLimit() {
      return concurrencyLimit
    },
  }
}
