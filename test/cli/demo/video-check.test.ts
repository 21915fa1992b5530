import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { checkVideo } from '../../../src/cli/demo/video-check.ts'

test.each([
  ['a 404', 404, 'video/mp4', 'gone', /answers 404/],
  ['a page', 200, 'text/html', '<html>not a video</html>', /is not a playable MP4/],
  ['nothing', 200, 'video/mp4', '', /is not a playable MP4/],
])('a URL that answers with %s is not a video', async (_, status, type, body, message) => {
  const server = createServer((_request, response) =>
    response.writeHead(status, { 'content-type': type }).end(body),
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v.mp4`
  await expect(checkVideo(url, new AbortController().signal)).rejects.toThrow(message)
  await new Promise(resolve => server.close(resolve))
})
