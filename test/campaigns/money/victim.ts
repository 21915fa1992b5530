/**
 * The gateway as an operator runs it with an account: `src/start.js`, a process, pointed at an upstream of ours. Killed and
 * started again it is the same gateway, on the same port, for upstream knows its address.
 * Invariant: it ends when it is told to and never by itself.
 */
import { type Run, run } from '../../support/process.ts'

export interface Victim extends AsyncDisposable {
  /** Of the GraphQL endpoint. */
  readonly url: string
  /** When it was killed, ms since 1970. */
  readonly kills: readonly number[]
  /** What each of its lives has logged. */
  readonly logs: readonly string[]
  readonly wrong: string | null
  /** SIGKILL, at once. */
  kill(): void
  /** Once more, after its end. */
  revive(): Promise<void>
  /** SIGTERM. */
  end(): Promise<void>
}

/** It promises five seconds. */
const END_MS = 10_000

export async function createVictim(folder: string, env: Record<string, string>): Promise<Victim> {
  const kills: number[] = []
  const lives: Run[] = []
  const wrong: string[] = []
  let ending = false

  async function start(): Promise<void> {
    const life = run('start.js', folder, env)
    lives.push(life)
    ending = false
    let isUp = false
    const gone = life.ended().then(({ code, signal }) => {
      const said = `${code ?? signal}: ${life.err.split('\n').slice(-5).join('\n')}`
      if (!ending) wrong.push(`the gateway ended by itself with ${said}`)
      if (!isUp && !ending) throw new Error(`the gateway did not start, ${said}`)
    })
    await Promise.race([life.printed(/GraphQL +http/), gone])
    isUp = true
  }
  await start()
  const life = () => lives.at(-1)!

  return {
    url: `http://127.0.0.1:${env.PORT}/graphql`,
    kills,
    get logs() {
      return lives.map(({ err }) => err)
    },
    get wrong() {
      return wrong[0] ?? null
    },
    kill() {
      ending = true
      kills.push(Date.now())
      life().child.kill('SIGKILL')
    },
    async revive() {
      await life().ended()
      await start()
    },
    async end() {
      ending = true
      life().child.kill('SIGTERM')
      const late = setTimeout(() => life().child.kill('SIGKILL'), END_MS)
      const { code, signal } = await life().ended()
      clearTimeout(late)
      if (code !== 0) wrong.push(`after SIGTERM the gateway ended with ${code ?? signal}`)
    },
    async [Symbol.asyncDispose]() {
      ending = true
      await life()[Symbol.asyncDispose]()
    },
  }
}
