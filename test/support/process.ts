/**
 * A command of the project in its own process, as a person runs it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { until } from './until.ts'

export interface Run extends AsyncDisposable {
  child: ChildProcess
  /** The output so far. */
  out: string
  err: string
  /** Waits until the pattern is printed. Returns the match. */
  untilPrinted(pattern: RegExp): Promise<RegExpExecArray>
  /** Waits for the process's end. */
  untilEnded(): Promise<{ code: number | null; signal: string | null; ms: number }>
}

/** @param script below src, as in `start.js`. The environment has only `env` and PATH. */
export function run(script: string, cwd: string, env: Record<string, string> = {}, args: string[] = []): Run {
  const child = spawn(process.execPath, [resolve('src', script), ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const startedAt = Date.now()
  const ending = once(child, 'close').then(([code, signal]) => ({ code, signal, ms: Date.now() - startedAt }))
  const result: Run = {
    child,
    out: '',
    err: '',
    untilPrinted: pattern => until(() => pattern.exec(result.out)),
    untilEnded: () => ending,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ending
    },
  }
  child.stdout.on('data', chunk => {
    result.out += chunk
  })
  child.stderr.on('data', chunk => {
    result.err += chunk
  })
  return result
}

/** An empty folder, deleted at the end. */
export async function emptyFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'rushes-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
