/**
 * Questions from one process of the run to another, over Node's own channel.
 * Invariant: a question ends: with the answer, or with the end of whoever was asked. A process whose asker is gone ends
 * itself, and `await using` ends it before that.
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

interface PendingCall {
  resolve(answer: never): void
  reject(error: Error): void
}

/** @param script beside this file */
export function startProcess<C extends Commands<C>>(script: string, ...args: string[]): RemoteProcess<C> {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), args, {
    // As `npm start` has it: graphql-js checks less then.
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
  child.on('message', ({ id, result }: { id: number; result: never }) => {
    pendingCalls.get(id)?.resolve(result)
    pendingCalls.delete(id)
  })

  return {
    call: (name, ...commandArgs) =>
      new Promise((resolve, reject) => {
        if (hasExited) return reject(new Error(`${script} ${args.join(' ')} is gone`))
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

/** The other side. What a command throws ends this process, with the stack on stderr. */
export function serveCommands<C extends Commands<C>>(commands: C): void {
  process.on('disconnect', () => process.exit())
  process.on('message', async ({ id, name, args }: CallMessage) => {
    const result = await commands[name as keyof C](...args)
    process.send?.({ id, answer: result })
  })
}
