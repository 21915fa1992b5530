/**
 * Predictions as the dashboard reads them.
 */
import type { PredictionCard, PredictionTimes } from '../../src/dashboard/documents.ts'

export const NOON = Date.parse('2026-01-01T12:00:00.000Z')
export const at = (ms: number) => new Date(NOON + ms).toISOString()

export const predictionOf = (id: string, more: Partial<PredictionCard> = {}): PredictionCard => ({
  id,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  status: 'QUEUED',
  input: {
    imageUrl: 'https://images.example/cat.png',
    prompt: id,
    negativePrompt: null,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
  },
  outputs: [],
  error: null,
  cost: { amount: 0.8 },
  tags: [],
  createdAt: at(0),
  submittedAt: null,
  finishedAt: null,
  updatedAt: at(0),
  ...more,
})

export const timesOf = (more: Partial<PredictionTimes>): PredictionTimes => ({
  id: 'a',
  status: 'QUEUED',
  createdAt: at(0),
  submittedAt: null,
  finishedAt: null,
  updatedAt: at(0),
  ...more,
})
