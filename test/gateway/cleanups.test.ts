import { expect, test } from 'vitest'
import { withCleanups } from '../../src/gateway/cleanups.ts'

test('cleanups run last first, one after the other, and only once', async () => {
  const calls: string[] = []
  const run = await withCleanups(async cleanups => {
    cleanups.push(() => void calls.push('first'))
    cleanups.push(async () => {
      calls.push('second starts')
      await Promise.resolve()
      calls.push('second ends')
    })
    return cleanups.run
  })
  expect(calls).toEqual([])
  await run()
  await run()
  expect(calls).toEqual(['second starts', 'second ends', 'first'])
})

test('a build that throws runs the cleanups that it has pushed, and rejects with its own error', async () => {
  const calls: string[] = []
  const error = new Error('the port is in use')
  const failing = withCleanups(async cleanups => {
    cleanups.push(() => void calls.push('store'))
    cleanups.push(async () => void calls.push('events'))
    await Promise.reject(error)
    cleanups.push(() => void calls.push('server'))
  })
  await expect(failing).rejects.toBe(error)
  expect(calls).toEqual(['events', 'store'])
})
