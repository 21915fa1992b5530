/**
 * The models, with their limits and prices.
 * Upstream ignores parameters it does not know and bills the defaults, so only the gateway checks these limits.
 */

/** USD amounts are integers in micro-dollars, so sums are exact. */
export const MICROS_PER_USD = 1_000_000

export const VIDEO_MODELS = ['WAN_2_2_I2V_PLUS_1080P', 'WAN_2_2_I2V_PLUS_480P'] as const
export type VideoModel = (typeof VIDEO_MODELS)[number]

export interface ModelCard {
  model: VideoModel
  /** Upstream's id of the model. Its slashes go unescaped into the path. */
  upstreamId: string
  name: string
  description: string
  resolution: string
  /** Possible lengths of a clip, seconds. */
  durations: readonly number[]
  /** Micro-USD per job. */
  price: number
  /** Seconds from submission to video. Used until there are finished jobs to measure. */
  expectedSeconds: number
}

export const MODELS: Readonly<Record<VideoModel, ModelCard>> = Object.freeze({
  WAN_2_2_I2V_PLUS_1080P: {
    model: 'WAN_2_2_I2V_PLUS_1080P',
    upstreamId: 'alibaba/wan-2.2/i2v-plus-1080p',
    name: 'Wan 2.2 Plus, image to video, 1080p',
    description: 'Animates one image into a five-second clip, 1920 × 1080.',
    resolution: '1080p',
    durations: [5],
    price: 0.8 * MICROS_PER_USD,
    expectedSeconds: 150,
  },
  WAN_2_2_I2V_PLUS_480P: {
    model: 'WAN_2_2_I2V_PLUS_480P',
    upstreamId: 'alibaba/wan-2.2/i2v-plus-480p',
    name: 'Wan 2.2 Plus, image to video, 480p',
    description: 'Animates one image into a five-second clip, 832 × 480.',
    resolution: '480p',
    durations: [5],
    price: 0.2 * MICROS_PER_USD,
    expectedSeconds: 90,
  },
})

export const SEED_RANGE = { min: -1, max: 2_147_483_647 } as const
