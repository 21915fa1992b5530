/**
 * The catalogue: what can be asked of upstream, within which limits, at what price.
 * Upstream drops what it does not know and bills the defaults, so these limits are checked here or nowhere.
 */

/** USD amounts are whole micro-dollars, so that sums stay exact. */
export const MICROS_PER_USD = 1_000_000

export const VIDEO_MODELS = ['WAN_2_2_I2V_PLUS_1080P', 'WAN_2_2_I2V_PLUS_480P'] as const
export type VideoModel = (typeof VIDEO_MODELS)[number]

export interface ModelCard {
  model: VideoModel
  /** The id upstream knows it by; its slashes go raw into the path. */
  upstreamId: string
  name: string
  description: string
  resolution: string
  /** Seconds a clip may last. */
  durations: readonly number[]
  /** Micro-USD a job. */
  price: number
  /** Seconds from submission to video, until finished jobs tell better. */
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
