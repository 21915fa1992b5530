/**
 * Overrides for tests, benchmarks and the demo.
 */
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import type { Clocks } from '../runtime/clocks.ts'
import type { ServerOverrides } from '../server/server.ts'
import type { SimulatorOptions } from '../simulator/simulator.ts'

export interface GatewayOverrides extends ServerOverrides {
  clocks?: Clocks
  simulator?: Pick<SimulatorOptions, 'fault' | 'port'>
  imageFetch?: ImageFetch
}
