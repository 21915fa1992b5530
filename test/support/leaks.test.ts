import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { openHandles } from './leaks.ts'

test('the leak guard finds a server that is left open', async () => {
  expect(openHandles()).toEqual([])
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  expect(openHandles()).toEqual(['TCPServerWrap'])
  await new Promise(resolve => server.close(resolve))
})
