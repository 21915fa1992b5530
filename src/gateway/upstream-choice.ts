/**
 * Chooses the upstream: the configured account, or a simulator that is started beside the gateway.
 * Invariant: a database belongs to one upstream for good. A job that was queued on the simulator is never paid for, and
 * upstream A is never asked for a job of upstream B.
 */
import { dirname, join } from 'node:path'
import type { Config } from '../config/config.ts'
import { IN_MEMORY, locateDatabase } from '../domain/database-url.ts'
import { StartupError } from '../domain/errors.ts'
import type { Simulator } from '../simulator/simulator.ts'
import type { DatabaseIdentity } from '../store/store.ts'
import type { GatewayOverrides } from './options.ts'

export interface UpstreamChoice {
  baseUrl: string
  apiKey: string
  /** Null: the configured account is used. */
  simulator: Simulator | null
}

const SIMULATOR_KEY = 'simulator'
const SIMULATOR_OWNER = 'the simulator'

/** @throws StartupError if the simulator can't start */
export async function chooseUpstream(config: Config, overrides: GatewayOverrides): Promise<UpstreamChoice> {
  if (config.upstream !== null) return { ...config.upstream, simulator: null }
  const simulator = await startSimulator(config, overrides)
  return { baseUrl: simulator.origin, apiKey: SIMULATOR_KEY, simulator }
}

/** @throws StartupError if the database belongs to another upstream */
export async function assertSameUpstream(
  database: Pick<DatabaseIdentity, 'bindUpstream'>,
  config: Config,
): Promise<void> {
  const expectedOwner = config.upstream?.baseUrl ?? SIMULATOR_OWNER
  const owner = await database.bindUpstream(expectedOwner)
  if (owner === expectedOwner) return
  throw new StartupError(
    `DATABASE_URL: ${locateDatabase(config.databaseUrl).file} belongs to ${owner}, and this start is for ${expectedOwner}. ` +
      `Name another file for ${expectedOwner}, or ${owner === SIMULATOR_OWNER ? 'unset WAVESPEED_API_KEY' : 'set the key and WAVESPEED_BASE_URL of its own upstream'}.`,
  )
}

async function startSimulator(config: Config, overrides: GatewayOverrides): Promise<Simulator> {
  const database = locateDatabase(config.databaseUrl).file
  const file = database === IN_MEMORY ? IN_MEMORY : join(dirname(database), 'simulator.db')
  const { createSimulator } = await import('../simulator/simulator.ts')
  try {
    const webhookSecret = config.webhookSecrets[0]
    return await createSimulator({ file, key: SIMULATOR_KEY, webhookSecret, ...overrides.simulator })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE')
      throw new StartupError(
        `The simulator's port is in use (${message}): is another gateway running here? Its videos' addresses name this port. Stop what holds it, or delete ${file}: the simulated jobs go with it.`,
      )
    throw new StartupError(`The simulator can't start: ${message} (${file}).`)
  }
}
