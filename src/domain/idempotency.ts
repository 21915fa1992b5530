/**
 * Idempotency keys: a client's names for its submits. Pure.
 * Invariant: the same key and fingerprint within 24 hours, under the same app and restriction, are the same request.
 */
import type { Prediction } from './prediction.ts'
import { DAY_MS } from './time.ts'

const IDEMPOTENCY_TTL_MS = DAY_MS

export interface Idempotency {
  /** Empty: the key is unique in the app. Otherwise it is unique among the tokens of this restriction. */
  restrictionKey: string
  key: string
  fingerprint: string
}

/** The prediction whose row has the key, whatever its age. */
export interface KeyHolder {
  prediction: Prediction
  fingerprint: string | null
}

/** The prediction that already uses the key: for the same request (`repeated`) or another one (`conflict`). */
export interface IdempotentMatch {
  kind: 'repeated' | 'conflict'
  prediction: Prediction
}

/** Null if the key is free. */
export const matchIdempotencyKey = (
  { prediction, fingerprint }: KeyHolder,
  requested: Pick<Idempotency, 'fingerprint'>,
  now: number,
): IdempotentMatch | null =>
  prediction.createdAt > now - IDEMPOTENCY_TTL_MS
    ? { kind: fingerprint === requested.fingerprint ? 'repeated' : 'conflict', prediction }
    : null
