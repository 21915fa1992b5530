import { describe, expect, test } from 'vitest'
import {
  allowsSubmits,
  CIRCUIT_REASONS,
  isProbeDue,
  nextProbeAt,
  openCircuit,
  type SubmitCircuit,
} from '../../src/domain/submit-circuit.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const QUARTER = 15 * MINUTE
const HOUR = 60 * MINUTE
const NOW = 1_800_000_000_000

const openCircuitState = (over: Partial<SubmitCircuit> = {}): SubmitCircuit => ({
  reason: 'unknown',
  until: NOW - SECOND,
  since: NOW - 60 * SECOND,
  version: 7,
  halfOpen: false,
  probePredictionId: null,
  failures: 0,
  ...over,
})
const halfOpenState = (failures: number) =>
  openCircuitState({ halfOpen: true, probePredictionId: 'a job', failures })

describe('an open submit circuit', () => {
  test('opens as reported: since now, not half-open, no failures', () => {
    for (const reason of CIRCUIT_REASONS)
      expect(openCircuit(null, { reason, until: NOW + 5 }, NOW)).toEqual({
        reason,
        until: NOW + 5,
        since: NOW,
        halfOpen: false,
        probePredictionId: null,
        failures: 0,
      })
  })

  test('keeps the reason "account" when another failure follows', () => {
    const state = openCircuitState({ reason: 'account', until: NOW + 10 })
    expect(openCircuit(state, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({ reason: 'account' })
    const halfOpenState = { ...state, halfOpen: true }
    expect(openCircuit(halfOpenState, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({
      reason: 'unknown',
    })
  })

  test('that opens again has the newer reason, the later end, the first start and the failures so far', () => {
    const state = openCircuitState({ until: NOW + 10, failures: 3 })
    const common = {
      reason: 'account',
      since: state.since,
      halfOpen: false,
      probePredictionId: null,
      failures: 3,
    }
    const openUntil = (until: number) => openCircuit(state, { reason: 'account', until }, NOW)
    expect(openUntil(NOW + 9)).toEqual({ ...common, until: NOW + 10 })
    expect(openUntil(NOW + 11)).toEqual({ ...common, until: NOW + 11 })
  })

  test('opens anew after a failed probe, and counts it as a failure', () => {
    expect(openCircuit(halfOpenState(2), { reason: 'throttled', until: NOW + QUARTER }, NOW)).toEqual({
      reason: 'throttled',
      until: NOW + QUARTER,
      since: NOW,
      halfOpen: false,
      probePredictionId: null,
      failures: 3,
    })
  })

  test.each([
    [0, 2],
    [1, 4],
    [2, 8],
    [3, 16],
    [8, 512],
    [9, 900],
    [10, 900],
    [5000, 900],
  ])('after %i failed probes and one more stays open for %i seconds', (failures, seconds) => {
    const { until } = openCircuit(halfOpenState(failures), { reason: 'unknown', until: NOW }, NOW)
    expect(until).toBe(NOW + seconds * SECOND)
  })

  test('never ends before the time upstream asked for, however short the delay after a probe', () => {
    const until = NOW + 4 * QUARTER
    for (const state of [null, openCircuitState(), halfOpenState(0), halfOpenState(40)])
      expect(openCircuit(state, { reason: 'throttled', until }, NOW).until).toBe(until)
  })

  test('stays open longer after each failed probe', () => {
    let at = NOW
    let state = halfOpenState(0)
    let last = 0
    for (let i = 0; i < 20; i++) {
      const next = openCircuit(state, { reason: 'unknown', until: at }, at)
      expect(next.until - at).toBeGreaterThanOrEqual(last)
      last = next.until - at
      at = next.until
      state = { ...next, version: i, halfOpen: true, probePredictionId: 'a job' }
    }
    expect(last).toBe(QUARTER)
  })
})

describe('the next probe of an open circuit', () => {
  test.each([
    [0, SECOND],
    [500, SECOND],
    [SECOND, SECOND],
    [7 * SECOND, 7 * SECOND],
    [MINUTE, MINUTE],
    [60 * MINUTE, MINUTE],
    [-MINUTE, SECOND],
  ])('that has been open %i ms is after %i ms', (lasted, wait) => {
    expect(nextProbeAt(NOW, NOW + lasted)).toBe(NOW + lasted + wait)
  })

  test('comes half a dozen times in the first minute of an outage, then once a minute', () => {
    const probes: number[] = []
    for (let at = NOW; at < NOW + 10 * MINUTE; at = nextProbeAt(NOW, at)) probes.push(at - NOW)
    expect(probes.filter(at => at > 0 && at <= MINUTE)).toHaveLength(6)
    expect(probes.filter(at => at > 2 * MINUTE)).toHaveLength(8)
  })
})

test('a closed and a half-open circuit allow submits, an open one does not', () => {
  expect([null, halfOpenState(0), openCircuitState()].map(allowsSubmits)).toEqual([true, true, false])
})

test('an open circuit is probed from its time on, or if a wrong clock has set that more than two hours ahead', () => {
  const isDue = (until: number) => isProbeDue(openCircuitState({ until }), NOW)
  expect([NOW - 1, NOW, NOW + 1, NOW + 2 * HOUR, NOW + 2 * HOUR + 1].map(isDue)).toEqual([
    true,
    true,
    false,
    false,
    true,
  ])
  expect(isProbeDue(halfOpenState(0), halfOpenState(0).until)).toBe(false)
})
