/**
 * Calls commands in another process over Node's IPC.
 * Invariant: every call ends, with a result or with the end of the process. A process whose parent is gone exits;
 * `await using` ends it before that.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

type Commands<C> = { [Name in keyof C]: (...args: never[]) => unknown }

export interface RemoteProcess<C extends Commands<C>> extends AsyncDisposable {
  call<Name extends keyof C & string>(
    name: Name,
    ...args: Parameters<C[Name]>
  ): Promise<Awaited<ReturnType<C[Name]>>>
}

interface CallMessage {
  id: number
  name: string
  args: never[]
}

interface ResultMessage {
  id: number
  result: never
}

interface PendingCall {
  resolve(result: never): void
  reject(error: Error): void
}

/** @param script relative to this file */
export function startProcess<C extends Commands<C>>(script: string, ...args: string[]): RemoteProcess<C> {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), args, {
    // `npm start` sets this too: graphql-js checks less in production.
    env: { ...process.env, NODE_ENV: 'production' },
    execArgv: ['--expose-gc', '--no-warnings'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const pendingCalls = new Map<number, PendingCall>()
  let callCount = 0
  let hasExited = false
  const exited = once(child, 'exit').then(([code, signal]) => {
    hasExited = true
    for (const { reject } of pendingCalls.values())
      reject(new Error(`${script} ${args.join(' ')} ended: ${signal ?? code}`))
  })
  child.on('message', ({ id, result }: ResultMessage) => {
    pendingCalls.get(id)?.resolve(result)
    pendingCalls.delete(id)
  })

  return {
    call: (name, ...commandArgs) =>
      new Promise((resolve, reject) => {
        if (hasExited) return reject(new Error(`${script} ${args.join(' ')} has ended`))
        const id = callCount++
        pendingCalls.set(id, { resolve, reject })
        child.send({ id, name, args: commandArgs } satisfies CallMessage)
      }),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** Serves the commands in the child. An exception ends the process, with the stack on stderr. */
export function serveCommands<C extends Commands<C>>(commands: C): void {
  process.on('disconnect', () => process.exit())
  process.on('message', async ({ id, name, args }: CallMessage) => {
    const result = (await commands[name as keyof C](...args)) as never
    process.send?.({ id, result } satisfies ResultMessage)
  })
}
