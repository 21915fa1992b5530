/**
 * The gateway as a process with an upstream account. A restart uses the same port, since upstream knows its address.
 * Invariant: the process ends only when the campaign stops or kills it.
 */
import { type Run, run } from '../../support/process.ts'

export interface GatewayProcess extends AsyncDisposable {
  /** The GraphQL endpoint. */
  readonly url: string
  /** Kill times, ms since 1970. */
  readonly killTimes: readonly number[]
  /** The log of each process. */
  readonly logs: readonly string[]
  readonly breach: string | null
  /** Sends SIGKILL. */
  kill(): void
  /** Starts again after the process has ended. */
  restart(): Promise<void>
  /** Sends SIGTERM and waits for the end. */
  stop(): Promise<void>
}

/** The gateway promises to stop within 5 s. */
const STOP_TIMEOUT_MS = 10_000

export async function startGatewayProcess(
  folder: string,
  env: Record<string, string>,
): Promise<GatewayProcess> {
  const killTimes: number[] = []
  const runs: Run[] = []
  const breaches: string[] = []
  let isStopping = false

  async function start(): Promise<void> {
    const gateway = run('start.js', folder, env)
    runs.push(gateway)
    isStopping = false
    let isUp = false
    const exited = gateway.untilEnded().then(({ code, signal }) => {
      const reason = `${code ?? signal}: ${gateway.err.split('\n').slice(-5).join('\n')}`
      if (!isStopping) breaches.push(`the gateway ended by itself with ${reason}`)
      if (!isUp && !isStopping) throw new Error(`the gateway did not start, ${reason}`)
    })
    await Promise.race([gateway.untilPrinted(/GraphQL +http/), exited])
    isUp = true
  }
  await start()
  const currentRun = () => runs.at(-1)!

  return {
    url: `http://127.0.0.1:${env.PORT}/graphql`,
    killTimes,
    get logs() {
      return runs.map(({ err }) => err)
    },
    get breach() {
      return breaches[0] ?? null
    },
    kill() {
      isStopping = true
      killTimes.push(Date.now())
      currentRun().child.kill('SIGKILL')
    },
    async restart() {
      await currentRun().untilEnded()
      await start()
    },
    async stop() {
      isStopping = true
      currentRun().child.kill('SIGTERM')
      const stopTimer = setTimeout(() => currentRun().child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      const { code, signal } = await currentRun().untilEnded()
      clearTimeout(stopTimer)
      if (code !== 0) breaches.push(`after SIGTERM the gateway ended with ${code ?? signal}`)
    },
    async [Symbol.asyncDispose]() {
      isStopping = true
      await currentRun()[Symbol.asyncDispose]()
    },
  }
}
