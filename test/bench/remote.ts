/**
 * Questions from one process of the run to another, over Node's own channel.
 * Invariant: a question ends: with the answer, or with the end of whoever was asked. A process whose asker is gone ends
 * itself, and `await using` ends it before that.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

type Commands<C> = { [Name in keyof C]: (...given: never[]) => unknown }

export interface Remote<C extends Commands<C>> extends AsyncDisposable {
  ask<Name extends keyof C & string>(
    name: Name,
    ...given: Parameters<C[Name]>
  ): Promise<Awaited<ReturnType<C[Name]>>>
}

interface Question {
  id: number
  name: string
  given: never[]
}

interface Waiting {
  resolve(answer: never): void
  reject(error: Error): void
}

/** @param script beside this file */
export function start<C extends Commands<C>>(script: string, ...args: string[]): Remote<C> {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), args, {
    // As `npm start` has it: graphql-js checks less then.
    env: { ...process.env, NODE_ENV: 'production' },
    execArgv: ['--expose-gc', '--no-warnings'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const waiting = new Map<number, Waiting>()
  let asked = 0
  let isOver = false
  const end = once(child, 'exit').then(([code, signal]) => {
    isOver = true
    for (const { reject } of waiting.values())
      reject(new Error(`${script} ${args.join(' ')} ended: ${signal ?? code}`))
  })
  child.on('message', ({ id, answer }: { id: number; answer: never }) => {
    waiting.get(id)?.resolve(answer)
    waiting.delete(id)
  })

  return {
    ask: (name, ...given) =>
      new Promise((resolve, reject) => {
        if (isOver) return reject(new Error(`${script} ${args.join(' ')} is gone`))
        const id = asked++
        waiting.set(id, { resolve, reject })
        child.send({ id, name, given } satisfies Question)
      }),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await end
    },
  }
}

/** The other side. What a command throws ends this process, with the stack on stderr. */
export function answer<C extends Commands<C>>(commands: C): void {
  process.on('disconnect', () => process.exit())
  process.on('message', async ({ id, name, given }: Question) => {
    const reply = await commands[name as keyof C](...given)
    process.send?.({ id, answer: reply })
  })
}
