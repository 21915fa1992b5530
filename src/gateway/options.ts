/**
 * Overrides for tests, benchmarks and the demo.
 */
import type { ImageFetch } from '../image-fetch/image-fetch.ts'
import type { HttpTimeouts } from '../server/http/http-server.ts'
import type { SimulatorOptions } from '../simulator/simulator.ts'

export interface GatewayOverrides {
  now?: () => number
  cursorRefreshMs?: number
  keepAliveMs?: number
  httpTimeouts?: Partial<HttpTimeouts>
  /** Time for a WebSocket to send `connection_init`. */
  initTimeoutMs?: number
  simulator?: Pick<SimulatorOptions, 'fault' | 'port'>
  imageFetch?: ImageFetch
}
