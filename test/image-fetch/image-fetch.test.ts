import type { LookupAddress } from 'node:dns'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { LookupFunction, Socket } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { brotliCompressSync, constants, createGzip, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { MAX_IMAGE_BYTES, parseImageHeader } from '../../src/domain/image-format.ts'
import {
  createImageFetch,
  IMAGE_FETCH_TIMEOUT_MS,
  type ImageFetchOptions,
} from '../../src/image-fetch/image-fetch.ts'
import { isPublicAddress } from '../../src/image-fetch/public-address.ts'
import { selfSigned } from '../support/certificate.ts'
import { listen } from '../support/loopback.ts'
import { until } from '../support/until.ts'

// The real module, except that a test can make it allow one address: every address that a test can listen on
// is private.
vi.mock('../../src/image-fetch/public-address.ts', { spy: true })
// The real module; a test counts its calls.
vi.mock('../../src/domain/image-format.ts', { spy: true })

type ReplyWith = (response: ServerResponse, request: IncomingMessage) => void

const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAASwAAADICAIAAADdvUsCAAAACXBIWQ==', 'base64')
const FOUND_IMAGE = { kind: 'image', type: 'image/png', width: 300, height: 200 }
const IMAGE = { ...FOUND_IMAGE, bytes: PNG.length }
const NOT_PUBLIC = { kind: 'unreachable', reason: 'ADDRESS_NOT_PUBLIC' }
const NAME = 'images.example'

const png: ReplyWith = response => void response.end(PNG)
const status =
  (code: number, headers: Record<string, string> = {}, body: string | Buffer = ''): ReplyWith =>
  response =>
    void response.writeHead(code, headers).end(body)
/** Sends the bytes as one chunk, and then the same text again and again. */
const repeatAfter =
  (start: Buffer, repeated: Buffer | string): ReplyWith =>
  (_, { socket }) => {
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
    socket.write(chunk(start))
    writeWithoutEnd(socket, repeated)
  }
function writeWithoutEnd(socket: Socket, repeated: Buffer | string) {
  const more = () => {
    while (!socket.destroyed && socket.write(repeated));
  }
  socket.on('drain', more)
  more()
}
const chunk = (data: Buffer) => Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, CRLF])
const CRLF = Buffer.from('\r\n')
const redirect = (location: string, code = 302) => status(code, { location }, 'moved')

async function listenAndRecord(server: Server) {
  const requests: { url: string; headers: IncomingHttpHeaders; closed: boolean; sent: number }[] = []
  let connections = 0
  server.on('connection', () => connections++)
  server.on('request', ({ url = '', headers, socket }: IncomingMessage) => {
    const request = { url, headers, closed: false, sent: 0 }
    requests.push(request)
    socket.on('error', () => {})
    socket.once('close', () => {
      request.closed = true
      request.sent = socket.bytesWritten
    })
  })
  return { ...(await listen(server)), requests, connections: () => connections }
}

/** A server on loopback that answers by path, or with `reply` on every path. */
async function serve(reply: ReplyWith | Record<string, ReplyWith>) {
  const listener: RequestListener = (request, response) => {
    const chosen = typeof reply === 'function' ? reply : reply[request.url ?? '']
    ;(chosen ?? status(404))(response, request)
  }
  return listenAndRecord(createServer(listener))
}

function openImageFetch(options: Partial<ImageFetchOptions> = {}) {
  const imageFetch = createImageFetch({ allowPrivateImageHosts: true, ...options })
  return { ...imageFetch, [Symbol.asyncDispose]: imageFetch.close }
}

/** Well before the timeout, which would close every connection too. */
const untilReleased = ({ requests }: { requests: { closed: boolean }[] }) =>
  until(() => requests.length > 0 && requests.every(({ closed }) => closed), 2000)

/** Answers each lookup with the next of these, then always with the last. */
function lookupAnswering(...answers: (string | string[])[]) {
  const hostnames: string[] = []
  const lookup: LookupFunction = (hostname, options, callback) => {
    expect(options.all).toBe(true)
    const answer = answers[Math.min(hostnames.push(hostname), answers.length) - 1]!
    const addresses = [answer].flat().map((address): LookupAddress => {
      return { address, family: address.includes(':') ? 6 : 4 }
    })
    process.nextTick(callback, null, addresses)
  }
  return { hostnames, lookup }
}

describe('an image', () => {
  test('is recognised by its first bytes, with its length', async () => {
    await using server = await serve(png)
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(`${server.origin}/cat.png?a=1&b=%2F#there`)).toEqual(IMAGE)
    expect(server.requests.map(({ url }) => url)).toEqual(['/cat.png?a=1&b=%2F'])
  })

  test('is recognised whatever its content type', async () => {
    await using server = await serve(status(200, { 'content-type': 'text/html' }, PNG))
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toMatchObject(FOUND_IMAGE)
  })

  test('without a declared length has null bytes', async () => {
    await using server = await serve(response => {
      response.write(PNG)
      response.end()
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ ...FOUND_IMAGE, bytes: null })
  })

  test('is requested without cookies, credentials, a range or a body, and on its own connection', async () => {
    await using server = await serve({
      '/a': status(302, { location: '/b', 'set-cookie': 'session=1' }),
      '/b': png,
    })
    await using imageFetch = openImageFetch()
    const { port } = server
    expect(await imageFetch.checkImage(`http://user:secret@127.0.0.1:${port}/a`)).toEqual(IMAGE)
    const host = `127.0.0.1:${port}`
    for (const { headers } of server.requests)
      expect(headers).toEqual({
        host,
        connection: 'close',
        accept: '*/*',
        'accept-encoding': 'identity',
        'user-agent': expect.stringContaining('Rushes'),
      })
    expect(server.connections()).toBe(2)
  })

  test('is fetched from a server that rejects ranges', async () => {
    await using server = await serve((response, request) =>
      (request.headers.range ? status(416) : png)(response, request),
    )
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual(IMAGE)
  })

  test('can be checked again, and by many at once', async () => {
    await using server = await serve(png)
    await using imageFetch = openImageFetch()
    const checks = Array.from({ length: 20 }, () => imageFetch.checkImage(server.origin))
    expect(await Promise.all(checks)).toEqual(Array(20).fill(IMAGE))
    expect(await imageFetch.checkImage(server.origin)).toEqual(IMAGE)
    expect(server.connections()).toBe(21)
  })

  test.each([
    ['gzip', gzipSync(PNG)],
    ['x-gzip', gzipSync(PNG)],
    ['GZIP', gzipSync(PNG)],
    ['deflate', deflateSync(PNG)],
    ['br', brotliCompressSync(PNG)],
  ])('that is sent in %s unasked is decoded', async (encoding, body) => {
    const headers = { 'content-encoding': encoding, 'content-length': String(body.length) }
    await using server = await serve(status(200, headers, body))
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ ...FOUND_IMAGE, bytes: null })
  })

  test('does not wait for more than its first 64 KiB', async () => {
    await using server = await serve(response => {
      response.writeHead(200, { 'content-length': MAX_IMAGE_BYTES })
      response.write(Buffer.concat([PNG, Buffer.alloc(64 * 1024)]))
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ ...FOUND_IMAGE, bytes: MAX_IMAGE_BYTES })
    await untilReleased(server)
  })

  test('in chunks of 512 bytes, of which the first are smaller, is read to its end', async () => {
    const small = Array.from({ length: 400 }, () => chunk(Buffer.alloc(1)))
    const rest = Array.from({ length: 4000 }, () => chunk(Buffer.alloc(512)))
    const body = Buffer.concat([chunk(PNG), ...small, ...rest, Buffer.from('0\r\n\r\n')])
    await using server = await serve((_, { socket }) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
      socket.write(body)
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ ...FOUND_IMAGE, bytes: null })
  })

  test('is judged once, however many pieces follow its head', async () => {
    const body = Buffer.concat([PNG, Buffer.alloc(4 * 1024 * 1024)])
    await using server = await serve(response => {
      for (let at = 0; at < body.length; at += 4096) response.write(body.subarray(at, at + 4096))
      response.end()
    })
    await using imageFetch = openImageFetch()
    vi.mocked(parseImageHeader).mockClear()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ ...FOUND_IMAGE, bytes: null })
    expect(vi.mocked(parseImageHeader).mock.calls.length).toBeLessThanOrEqual(2)
  })

  test('without end is abandoned once it is too large', async () => {
    await using server = await serve(response => {
      response.write(PNG)
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024)));
      }
      response.on('drain', more)
      more()
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ kind: 'too large' })
    await untilReleased(server)
    expect(server.requests[0]?.sent).toBeLessThan(48 * 1024 * 1024)
  })

  test('that decodes without end is abandoned once it is too large', async () => {
    await using server = await serve(response => {
      const gzip = createGzip()
      response.writeHead(200, { 'content-encoding': 'gzip' })
      gzip.pipe(response).on('close', () => gzip.destroy())
      gzip.write(PNG)
      const more = () => {
        while (!gzip.destroyed && gzip.write(Buffer.alloc(1024 * 1024)));
      }
      gzip.on('drain', more)
      more()
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ kind: 'too large' })
    await untilReleased(server)
  })
})

describe('not an image', () => {
  test.each<[title: string, reply: ReplyWith]>([
    [
      'a page with an image content type',
      status(200, { 'content-type': 'image/png' }, '<html>sign in</html>'),
    ],
    ['an image of another kind', status(200, { 'content-type': 'image/gif' }, 'GIF89a\x09\0\x09\0\0\0\0')],
    ['nothing', status(200)],
    ['a file with an unknown encoding', status(200, { 'content-encoding': 'pied-piper' }, gzipSync(PNG))],
    ['text without end', response => void response.write('x'.repeat(1024 * 1024))],
  ])('is %s', async (_, reply) => {
    await using server = await serve(reply)
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ kind: 'no image' })
    await untilReleased(server)
  })
})

describe('too large', () => {
  test.each<[title: string, headers: Record<string, string>]>([
    ['an image', {}],
    ['a packed one', { 'content-encoding': 'gzip' }],
  ])('is %s that declares over 25 MB, and it is not read', async (_, headers) => {
    const length = String(MAX_IMAGE_BYTES + 1)
    await using server = await serve(response => {
      response.writeHead(200, { ...headers, 'content-length': length }).flushHeaders()
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual({ kind: 'too large' })
    await untilReleased(server)
  })
})

describe('unreachable', () => {
  const page = '<html>no</html>'
  test.each<[title: string, reason: string | RegExp, reply: ReplyWith]>([
    ...[201, 204, 206, 300, 304, 400, 401, 403, 404, 410, 416, 429, 500, 502, 503].map(
      (code): [string, string, ReplyWith] => [
        `answers ${code}`,
        `HTTP_${code}`,
        status(code, {}, code === 204 || code === 304 ? '' : PNG),
      ],
    ),
    ['redirects without a location', 'NOT_HTTP', status(302, {}, page)],
    [
      'resets the connection',
      /^(ECONNRESET|UND_ERR_SOCKET)$/,
      (_, request) => void request.socket.resetAndDestroy(),
    ],
    ['ends the connection', 'UND_ERR_SOCKET', (_, request) => void request.socket.end()],
    ['talks no HTTP', /^(HPE_|HTTPParserError)/, (_, request) => void request.socket.end('hello\r\n\r\n')],
    [
      'breaks off in the midst of the headers',
      'UND_ERR_SOCKET',
      (_, request) => void request.socket.end('HTTP/1.1 200 OK\r\nco'),
    ],
    [
      'breaks off in the midst of the image',
      'UND_ERR_SOCKET',
      (_, { socket }) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n')
        socket.end(PNG)
      },
    ],
    [
      'resets in the midst of the image',
      /^(ECONNRESET|UND_ERR_SOCKET)$/,
      (_, { socket }) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n')
        socket.write(PNG, () => socket.resetAndDestroy())
      },
    ],
    [
      'sends headers without end',
      'UND_ERR_HEADERS_OVERFLOW',
      status(200, { 'x-much': 'x'.repeat(20_000) }, PNG),
    ],
    ['says gzip and sends none', 'Z_DATA_ERROR', status(200, { 'content-encoding': 'gzip' }, PNG)],
    [
      'sends its image in chunks of one byte',
      'TOO_MANY_PIECES',
      repeatAfter(PNG, '1\r\nx\r\n'.repeat(10_000)),
    ],
    [
      'sends chunks of one byte after a whole head',
      'TOO_MANY_PIECES',
      repeatAfter(Buffer.concat([PNG, Buffer.alloc(64 * 1024)]), '1\r\nx\r\n'.repeat(10_000)),
    ],
    [
      'sends chunk extensions without end',
      'TOO_MUCH_OVERHEAD',
      repeatAfter(PNG, `1;${'x'.repeat(60_000)}\r\nx\r\n`),
    ],
    [
      'sends one chunk extension without end',
      'TOO_MUCH_OVERHEAD',
      (_, { socket }) => {
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;')
        writeWithoutEnd(socket, 'x'.repeat(64 * 1024))
      },
    ],
    [
      'sends informational responses without end',
      'TOO_MANY_INFORMATIONAL_RESPONSES',
      (_, { socket }) => writeWithoutEnd(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)),
    ],
    [
      'sends its headers byte by byte',
      'TOO_MANY_PIECES',
      (_, { socket }) => {
        socket.setNoDelay(true)
        socket.write('HTTP/1.1 200 OK\r\nx-slow: ')
        const more = () => void (socket.destroyed || socket.write('x', () => setImmediate(more)))
        more()
      },
    ],
    [
      'packs nothing without end',
      'UND_ERR_RES_EXCEEDED_MAX_SIZE',
      response => {
        response.writeHead(200, { 'content-encoding': 'gzip' })
        const nothing = Buffer.concat(Array(10_000).fill(Buffer.from([0, 0, 0, 0xff, 0xff])))
        response.write(gzipSync('', { finishFlush: constants.Z_SYNC_FLUSH }))
        const more = () => {
          while (!response.destroyed && response.write(nothing));
        }
        response.on('drain', more)
        more()
      },
    ],
  ])('is a server that %s', async (_, reason, reply) => {
    await using server = await serve(reply)
    await using imageFetch = openImageFetch()
    const expected = typeof reason === 'string' ? reason : expect.stringMatching(reason)
    expect(await imageFetch.checkImage(`${server.origin}/kitten`)).toEqual({
      kind: 'unreachable',
      reason: expected,
    })
    expect(server.requests).toHaveLength(1)
    await untilReleased(server)
  })

  test('is a port where nothing listens, at one address or at all of a name', async () => {
    const gone = await serve(png)
    await gone[Symbol.asyncDispose]()
    await using imageFetch = openImageFetch(lookupAnswering(['127.0.0.1', '127.0.0.1']))
    const expected = { kind: 'unreachable', reason: 'ECONNREFUSED' }
    expect(await imageFetch.checkImage(gone.origin)).toEqual(expected)
    expect(await imageFetch.checkImage(`http://${NAME}:${gone.port}`)).toEqual(expected)
  })

  test('is a name that resolves to nothing', async () => {
    const failure = Object.assign(new Error(`getaddrinfo ENOTFOUND ${NAME}`), { code: 'ENOTFOUND' })
    await using imageFetch = openImageFetch({ lookup: (_host, _options, callback) => callback(failure, []) })
    expect(await imageFetch.checkImage(`http://${NAME}`)).toEqual({
      kind: 'unreachable',
      reason: 'ENOTFOUND',
    })
    await using empty = openImageFetch({ lookup: (_host, _options, callback) => callback(null, []) })
    expect(await empty.checkImage(`http://${NAME}`)).toEqual(NOT_PUBLIC)
  })

  test.each([
    'ftp://images.example/cat.png',
    'file:///etc/passwd',
    'data:image/png;base64,iVBORw0KGgo=',
    'javascript:alert(1)',
    'blob:http://127.0.0.1/x',
    'ws://127.0.0.1/',
    '//images.example/cat.png',
    'cat.png',
    '',
    'http://',
    'http://[::1',
    'http://256.256.256.256/',
  ])('is %j, which is not a web URL', async url => {
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(url)).toEqual({ kind: 'unreachable', reason: 'NOT_HTTP' })
  })

  test.each<[title: string, reply: ReplyWith]>([
    ['says nothing', () => {}],
    ['begins its headers and stops', (_, request) => void request.socket.write('HTTP/1.1 200 OK\r\n')],
    ['begins its image and stops', response => void response.writeHead(200).write(PNG)],
    [
      'redirects, and then says nothing',
      (response, request) => {
        if (request.url === '/') redirect('/silence')(response, request)
      },
    ],
  ])('is a server that %s, once the time is over', async (_, reply) => {
    await using server = await serve(reply)
    await using imageFetch = openImageFetch({ timeoutMs: 200 })
    const start = performance.now()
    expect(await imageFetch.checkImage(server.origin)).toEqual({
      kind: 'unreachable',
      reason: 'TimeoutError',
    })
    expect(performance.now() - start).toBeGreaterThan(190)
    await untilReleased(server)
  })

  test('is a server that keeps sending a little, once the time is over', async () => {
    await using server = await serve(response => {
      const timer = setInterval(() => response.write('x'), 20)
      response.on('close', () => clearInterval(timer))
    })
    await using imageFetch = openImageFetch({ timeoutMs: 300 })
    expect(await imageFetch.checkImage(server.origin)).toEqual({
      kind: 'unreachable',
      reason: 'TimeoutError',
    })
  })

  test('is a name that never resolves, and no socket waits on for it', async () => {
    await using imageFetch = openImageFetch({ timeoutMs: 100, lookup: () => {} })
    for (const protocol of ['http', 'https'])
      expect(await imageFetch.checkImage(`${protocol}://${NAME}`)).toEqual({
        kind: 'unreachable',
        reason: 'TimeoutError',
      })
    await until(() => !process.getActiveResourcesInfo().includes('TCPSocketWrap'))
  })

  test('is every check that takes more than five seconds', () => {
    expect(IMAGE_FETCH_TIMEOUT_MS).toBe(5000)
  })

  test('is every check that a stop aborted, before and during the check', async () => {
    await using server = await serve(() => {})
    await using imageFetch = openImageFetch()
    const stop = new AbortController()
    const check = imageFetch.checkImage(server.origin, stop.signal)
    await until(() => server.requests.length === 1)
    stop.abort()
    expect(await check).toEqual({ kind: 'unreachable', reason: 'AbortError' })
    await untilReleased(server)
    expect(await imageFetch.checkImage(server.origin, stop.signal)).toMatchObject({ kind: 'unreachable' })
    expect(server.connections()).toBe(1)
  })

  test('is every check after close, and every check under way then', async () => {
    await using server = await serve(() => {})
    const imageFetch = createImageFetch({ allowPrivateImageHosts: true })
    const check = imageFetch.checkImage(server.origin)
    await until(() => server.requests.length === 1)
    await imageFetch.close()
    expect(await check).toMatchObject({ kind: 'unreachable' })
    await untilReleased(server)
    expect(await imageFetch.checkImage(server.origin)).toMatchObject({ kind: 'unreachable' })
    expect(server.connections()).toBe(1)
  })
})

describe('a redirect', () => {
  test.each([301, 302, 303, 307, 308])('of status %i is followed, to a path or a URL', async code => {
    await using other = await serve({ '/cat.png?x=1': png })
    await using server = await serve({
      '/a': redirect('b', code),
      '/b': redirect(`${other.origin}/cat.png?x=1#there`, code),
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(`${server.origin}/a`)).toEqual(IMAGE)
    await untilReleased(server)
  })

  test('is followed five times and no more', async () => {
    await using server = await serve((response, request) => {
      const left = Number(request.url?.slice(1))
      ;(left === 0 ? png : redirect(`/${left - 1}`))(response, request)
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(`${server.origin}/5`)).toEqual(IMAGE)
    expect(server.requests).toHaveLength(6)
    const expected = { kind: 'unreachable', reason: 'TOO_MANY_REDIRECTS' }
    expect(await imageFetch.checkImage(`${server.origin}/6`)).toEqual(expected)
    expect(server.requests).toHaveLength(12)
  })

  test('to itself ends', async () => {
    await using server = await serve(redirect('/'))
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toMatchObject({ kind: 'unreachable' })
    expect(server.requests).toHaveLength(6)
  })

  test('does not forward credentials', async () => {
    await using server = await serve(png)
    await using first = await serve(redirect(`http://user:secret@127.0.0.1:${server.port}/`))
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(first.origin)).toEqual(IMAGE)
    expect(server.requests[0]?.headers).not.toHaveProperty('authorization')
  })

  test.each(['file:///etc/passwd', 'ftp://127.0.0.1/', 'data:image/png;base64,iVBORw0KGgo=', 'http://['])(
    'to %s is not followed',
    async location => {
      await using server = await serve(redirect(location))
      await using imageFetch = openImageFetch()
      expect(await imageFetch.checkImage(server.origin)).toEqual({ kind: 'unreachable', reason: 'NOT_HTTP' })
    },
  )

  test('to a non-ASCII path is followed as a browser would', async () => {
    await using server = await serve({
      '/': redirect(Buffer.from('/kätzchen und maus.png').toString('latin1')),
      '/k%C3%A4tzchen%20und%20maus.png': png,
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual(IMAGE)
  })

  test('with a page that never ends is abandoned', async () => {
    await using server = await serve({
      '/': response => void response.writeHead(302, { location: '/b' }).write('x'.repeat(100_000)),
      '/b': png,
    })
    await using imageFetch = openImageFetch()
    expect(await imageFetch.checkImage(server.origin)).toEqual(IMAGE)
    await untilReleased(server)
  })
})

describe('the private network', () => {
  const hosts = [
    ...[
      '127.0.0.1',
      '127.1',
      '127.0.0.2',
      '2130706433',
      '0x7f000001',
      '0177.0.0.1',
      '0x7f.1',
      '１２７.0.0.1',
    ],
    ...['0.0.0.0', '0', '127.0.0.1.', 'localhost', 'LOCALHOST'],
    ...[
      '[::1]',
      '[::]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[::127.0.0.1]',
      '[0:0:0:0:0:ffff:127.0.0.1]',
    ],
    ...['[64:ff9b::127.0.0.1]', '[2002:7f00:1::]'],
  ]

  test.each(hosts)('is not connected to as %s, not for http and not for https', async host => {
    await using server = await serve(png)
    await using imageFetch = openImageFetch({ allowPrivateImageHosts: false })
    for (const protocol of ['http', 'https'])
      expect(await imageFetch.checkImage(`${protocol}://${host}:${server.port}/`)).toMatchObject({
        kind: 'unreachable',
      })
    expect(server.connections()).toBe(0)
  })

  test.each([
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '10.0.0.1',
    '169.254.169.254',
    'fd00::1',
  ])('is not connected to by a name that resolves to %s, not for http and not for https', async address => {
    await using server = await serve(png)
    const { hostnames, lookup } = lookupAnswering(address)
    await using imageFetch = openImageFetch({ allowPrivateImageHosts: false, lookup })
    for (const protocol of ['http', 'https'])
      expect(await imageFetch.checkImage(`${protocol}://${NAME}:${server.port}/`)).toEqual(NOT_PUBLIC)
    expect(hostnames).toEqual([NAME, NAME])
    expect(server.connections()).toBe(0)
  })

  test('is connected to if that is allowed, and still for http and https only', async () => {
    await using server = await serve({ '/': png, '/file': redirect('file:///etc/passwd') })
    await using imageFetch = openImageFetch({ ...lookupAnswering('127.0.0.1'), allowPrivateImageHosts: true })
    for (const host of ['127.0.0.1', '127.1', NAME])
      expect(await imageFetch.checkImage(`http://${host}:${server.port}/`)).toEqual(IMAGE)
    expect(await imageFetch.checkImage(`${server.origin}/file`)).toMatchObject({ reason: 'NOT_HTTP' })
  })

  test('is not reached by a redirect: each hop is checked anew', async () => {
    await using secret = await serve(png)
    await using server = await serve({
      '/address': redirect(`${secret.origin}/`),
      '/name': redirect(`http://${NAME}:${secret.port}/`),
      '/itself': redirect('/address'),
    })
    await using imageFetch = openImageFetch({
      ...lookupAnswering('127.0.0.1'),
      allowPrivateImageHosts: false,
    })
    for (const path of ['/address', '/name', '/itself']) {
      vi.mocked(isPublicAddress).mockImplementationOnce(() => true)
      expect(await imageFetch.checkImage(`${server.origin}${path}`)).toEqual(NOT_PUBLIC)
    }
    expect(server.requests.map(({ url }) => url)).toEqual(['/address', '/name', '/itself'])
    expect(secret.connections()).toBe(0)
  })

  test('is not reached by a name that resolves differently the next time', async () => {
    await using server = await serve({ '/': png, '/again': redirect('/') })
    const { hostnames, lookup } = lookupAnswering('127.0.0.1', '127.0.0.1', '169.254.169.254')
    await using imageFetch = openImageFetch({ allowPrivateImageHosts: false, lookup })
    const url = `http://${NAME}:${server.port}`

    // The checked address is the one connected to: one lookup, and none after the check.
    vi.mocked(isPublicAddress).mockImplementationOnce(() => true)
    expect(await imageFetch.checkImage(`${url}/`)).toEqual(IMAGE)
    expect(hostnames).toHaveLength(1)
    expect(vi.mocked(isPublicAddress).mock.lastCall).toEqual(['127.0.0.1'])

    vi.mocked(isPublicAddress).mockImplementationOnce(() => true)
    expect(await imageFetch.checkImage(`${url}/again`)).toEqual(NOT_PUBLIC)
    expect(hostnames).toHaveLength(3)
    expect(vi.mocked(isPublicAddress).mock.lastCall).toEqual(['169.254.169.254'])
    expect(server.requests.map(({ url }) => url)).toEqual(['/', '/again'])
  })

  test('is removed from the addresses of a name', async () => {
    await using server = await serve(png)
    await using imageFetch = openImageFetch({
      ...lookupAnswering(['10.0.0.1', '127.0.0.1', '::1']),
      allowPrivateImageHosts: false,
    })
    vi.mocked(isPublicAddress)
      .mockImplementationOnce(() => false)
      .mockImplementationOnce(() => true)
    expect(await imageFetch.checkImage(`http://${NAME}:${server.port}/`)).toEqual(IMAGE)
  })

  test('is not reached through proxies that the environment names', async () => {
    await using proxy = await serve(png)
    await using server = await serve(png)
    for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY'])
      vi.stubEnv(name, name === 'NODE_USE_ENV_PROXY' ? '1' : proxy.origin)
    try {
      await using imageFetch = openImageFetch()
      expect(await imageFetch.checkImage(server.origin)).toEqual(IMAGE)
      expect(proxy.connections()).toBe(0)
    } finally {
      vi.unstubAllEnvs()
    }
  })
})

describe('https', () => {
  async function serveSecurely(reply: ReplyWith = png) {
    const pair = selfSigned(NAME)
    const server = await listenAndRecord(
      createSecureServer(pair, (request, response) => reply(response, request)),
    )
    return { ...server, ...pair }
  }
  /** Trusts `cert` until the end of the block. */
  function trustCertificate(cert: string) {
    const before = getCACertificates('default')
    setDefaultCACertificates([...before, cert])
    return { [Symbol.dispose]: () => setDefaultCACertificates(before) }
  }

  test('with a trusted certificate for this name is fetched', async () => {
    await using server = await serveSecurely()
    using _ = trustCertificate(server.cert)
    await using imageFetch = openImageFetch(lookupAnswering('127.0.0.1'))
    expect(await imageFetch.checkImage(`https://${NAME}:${server.port}/`)).toEqual(IMAGE)
  })

  test('with a self-signed certificate is unreachable', async () => {
    await using server = await serveSecurely()
    await using imageFetch = openImageFetch(lookupAnswering('127.0.0.1'))
    expect(await imageFetch.checkImage(`https://${NAME}:${server.port}/`)).toEqual({
      kind: 'unreachable',
      reason: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    })
    expect(server.requests).toHaveLength(0)
  })

  test('with a certificate for another name is unreachable', async () => {
    await using server = await serveSecurely()
    using _ = trustCertificate(server.cert)
    await using imageFetch = openImageFetch(lookupAnswering('127.0.0.1'))
    expect(await imageFetch.checkImage(`https://other.example:${server.port}/`)).toEqual({
      kind: 'unreachable',
      reason: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
    expect(server.requests).toHaveLength(0)
  })

  test('on a port that speaks plain http is unreachable', async () => {
    await using server = await serve(png)
    await using imageFetch = openImageFetch()
    const result = await imageFetch.checkImage(`https://127.0.0.1:${server.port}/`)
    expect(result).toEqual({ kind: 'unreachable', reason: expect.stringMatching(/^(ERR_SSL_|EPROTO|ECONN)/) })
  })

  test('is not connected to in the private network, even if trusted', async () => {
    await using server = await serveSecurely()
    using _ = trustCertificate(server.cert)
    await using imageFetch = openImageFetch({
      ...lookupAnswering('127.0.0.1'),
      allowPrivateImageHosts: false,
    })
    expect(await imageFetch.checkImage(`https://${NAME}:${server.port}/`)).toEqual(NOT_PUBLIC)
    expect(await imageFetch.checkImage(`https://127.0.0.1:${server.port}/`)).toEqual(NOT_PUBLIC)
    expect(server.connections()).toBe(0)
  })

  test('redirects to http are followed', async () => {
    await using plain = await serve(png)
    await using server = await serveSecurely(redirect(`${plain.origin}/`))
    using _ = trustCertificate(server.cert)
    await using imageFetch = openImageFetch(lookupAnswering('127.0.0.1'))
    expect(await imageFetch.checkImage(`https://${NAME}:${server.port}/`)).toEqual(IMAGE)
  })
})

test('no reason contains a URL, a host or an address', async () => {
  const gone = await serve(png)
  await gone[Symbol.asyncDispose]()
  await using server = await serve(redirect('http://private.example/secret'))
  await using strict = openImageFetch({ allowPrivateImageHosts: false })
  await using imageFetch = openImageFetch({
    lookup: (host, _, callback) => callback(new Error(`no ${host}`), []),
  })
  const urls = [`${gone.origin}/secret`, 'http://private.example/secret', `${server.origin}/secret`, 'secret']
  for (const { checkImage } of [strict, imageFetch])
    for (const url of urls) {
      const result = await checkImage(url)
      expect(result).toMatchObject({ kind: 'unreachable', reason: expect.stringMatching(/^\w+$/) })
      expect(JSON.stringify(result)).not.toMatch(/secret|private|127|\d{4}/)
    }
})
