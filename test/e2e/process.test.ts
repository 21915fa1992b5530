import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Agent, request } from 'undici'
import { describe, expect, test } from 'vitest'
import type { Fault } from '../../src/simulator/fault.ts'
import { createSimulator } from '../../src/simulator/simulator.ts'
import { queryDatabaseFile } from '../support/database-file.ts'
import { emptyFolder, type Run, run } from '../support/process.ts'
import { until } from '../support/until.ts'

const PORT = '0'

async function ask(gateway: Run, document: string): Promise<Record<string, never>> {
  const [, url] = await gateway.untilPrinted(/GraphQL +(\S+)/)
  const [, key] = await gateway.untilPrinted(/Key +(rsh_\S+)/)
  return askAs(url!, key!, document)
}

async function askAs(url: string, key: string, query: string): Promise<Record<string, never>> {
  const dispatcher = new Agent({ pipelining: 0 })
  try {
    const response = await request(url, {
      dispatcher,
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    })
    return (await response.body.json()) as Record<string, never>
  } finally {
    await dispatcher.destroy()
  }
}

const SUBMIT = (image: string, prompt: string) =>
  `mutation { submitVideo(input: {image: {url: "${image}"}, prompt: "${prompt}"}) { ... on SubmitVideoPayload { prediction { id } } } }`
const STATUSES = '{ predictions { edges { node { status } } } }'
const statusesOf = (answer: Record<string, unknown>): string[] =>
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
  (answer as any).data.predictions.edges.map((edge: { node: { status: string } }) => edge.node.status)

describe('npm start', () => {
  test('in an empty folder starts a gateway and a simulator, and prints a key and a request that works when pasted', async () => {
    await using folder = await emptyFolder()
    await using gateway = run('start.js', folder.path, { PORT })
    await gateway.untilPrinted(/SIMULATOR at/)
    expect(gateway.out).toContain('nothing is charged')
    const [, url, key, body] = await gateway.untilPrinted(
      /curl -s (http\S+) -H "authorization: Bearer (\S+)".* -d '(.+)'/,
    )
    const answer = await askAs(url!, key!, JSON.parse(body!).query)
    expect(answer).toMatchObject({ data: { submitVideo: { prediction: { status: 'QUEUED' } } } })
    expect((await readdir(join(folder.path, 'data'))).sort()).toEqual(
      expect.arrayContaining(['rushes.db', 'simulator.db']),
    )
    await until(async () => statusesOf(await ask(gateway, STATUSES))[0] !== 'QUEUED')
    gateway.child.kill('SIGTERM')
    const { code } = await gateway.untilEnded()
    expect([code, gateway.err.includes('"level":50')]).toEqual([0, false])
  })

  test('once more prints another key, and the earlier one still works', async () => {
    await using folder = await emptyFolder()
    const keys: string[] = []
    for (let i = 0; i < 2; i++) {
      await using gateway = run('start.js', folder.path, { PORT })
      const [, url] = await gateway.untilPrinted(/GraphQL +(\S+)/)
      const [, key] = await gateway.untilPrinted(/Key +(rsh_\S+)/)
      keys.push(key!)
      for (const each of keys)
        expect(await askAs(url!, each, '{ viewer { name } }')).toEqual({ data: { viewer: { name: 'demo' } } })
      gateway.child.kill('SIGINT')
      expect((await gateway.untilEnded()).code).toBe(0)
    }
    expect(keys[0]).not.toBe(keys[1])
  })

  test('after SIGKILL the gateway and the simulator find their jobs and continue', async () => {
    await using folder = await emptyFolder()
    {
      await using gateway = run('start.js', folder.path, { PORT })
      const [, simulator] = await gateway.untilPrinted(/SIMULATOR at (\S+)/)
      for (let i = 0; i < 3; i++) await ask(gateway, SUBMIT(`${simulator}/files/sample.jpg`, 'sim:seconds=2'))
      await until(async () => statusesOf(await ask(gateway, STATUSES)).every(status => status !== 'QUEUED'))
    }
    await using gateway = run('start.js', folder.path, { PORT })
    await until(async () => statusesOf(await ask(gateway, STATUSES)).every(status => status === 'COMPLETED'))
    expect(statusesOf(await ask(gateway, STATUSES))).toHaveLength(3)
  })

  test('with an upstream key and no app says how to create one, and creates none itself', async () => {
    await using folder = await emptyFolder()
    const env = { PORT, WAVESPEED_API_KEY: 'k', WAVESPEED_BASE_URL: 'http://127.0.0.1:9' }
    await using gateway = run('start.js', folder.path, env)
    await gateway.untilPrinted(/npm run app -- create NAME/)
    expect(gateway.out).toContain('http://127.0.0.1:9')
    expect(gateway.out).not.toMatch(/SIMULATOR|rsh_/)
  })

  test('on SIGTERM abandons an unanswered POST, ends within five seconds with 0, and leaves the row begun', async () => {
    await using folder = await emptyFolder()
    const signaledAt = await signalDuringPost(folder.path, 'SIGTERM', { stall: 'after' })
    expect(Date.now() - signaledAt).toBeLessThan(5000)
    expect(storedSubmits(folder.path)).toEqual([{ status: 'QUEUED', submission: 'begun' }])
  })

  test('on SIGHUP, which a closed terminal sends, waits for the answer of a POST and ends with 0', async () => {
    await using folder = await emptyFolder()
    await signalDuringPost(folder.path, 'SIGHUP', { late: 'after', ms: 500 })
    expect(storedSubmits(folder.path)).toMatchObject([{ submission: 'accepted' }])
  })

  /** Sends the signal while a POST to upstream has no answer. Returns when it was sent, once the gateway has ended with 0. */
  async function signalDuringPost(folder: string, signal: NodeJS.Signals, fault: Fault): Promise<number> {
    const simulator = await createSimulator({
      file: ':memory:',
      key: 'k',
      fault: call => (call.path.startsWith('/alibaba') ? fault : null),
    })
    try {
      const env = {
        PORT,
        WAVESPEED_API_KEY: 'k',
        WAVESPEED_BASE_URL: simulator.origin,
        ALLOW_PRIVATE_IMAGE_HOSTS: '1',
      }
      await using gateway = run('start.js', folder, env)
      const [, url] = await gateway.untilPrinted(/GraphQL +(\S+)/)
      await using app = run('cli/app/main.ts', folder, env, ['create', 'web', '--json'])
      await app.untilEnded()
      await askAs(url!, JSON.parse(app.out).key, SUBMIT(simulator.sampleImage, 'x'))
      await until(() => simulator.calls.length === 1)
      const sentAt = Date.now()
      gateway.child.kill(signal)
      expect((await gateway.untilEnded()).code).toBe(0)
      return sentAt
    } finally {
      await simulator.close()
    }
  }

  const storedSubmits = (folder: string) =>
    queryDatabaseFile(join(folder, 'data/rushes.db'), db =>
      db.prepare('select status, submission from predictions').all(),
    )

  test('stopped by a SIGTERM to npm ends with 0 and leaves nothing behind', async () => {
    await using folder = await emptyFolder()
    const env = { ...process.env, PORT, DATABASE_URL: `file:${folder.path}/x.db` }
    const npm = spawn('npm', ['start'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(npm, 'close')
    let out = ''
    npm.stdout.on('data', chunk => {
      out += chunk
    })
    const [, url] = await until(() => /Health +(\S+)/.exec(out))
    npm.kill('SIGTERM')
    expect((await ended)[0]).toBe(0)
    await expect(request(url!)).rejects.toThrow(/ECONNREFUSED/)
  })

  test('a second gateway on the same database refuses to start', async () => {
    await using folder = await emptyFolder()
    await using first = run('start.js', folder.path, { PORT })
    await first.untilPrinted(/listening/)
    expect(await failing(folder.path, {})).toMatch(/another gateway runs on data\/rushes.db/)
  })

  const failing = async (cwd: string, env: Record<string, string>): Promise<string> => {
    await using gateway = run('start.js', cwd, { PORT, ...env })
    const { code } = await gateway.untilEnded()
    expect(code).toBe(1)
    expect(gateway.err).toMatch(/^rushes: /)
    expect(gateway.err).not.toMatch(/^ +at /m)
    return gateway.err
  }

  test('reports all faults of the configuration in one message', async () => {
    await using folder = await emptyFolder()
    const stderr = await failing(folder.path, { PORT: 'x', LOG_LEVEL: 'loud', WAVESPEED_APIKEY: 'k' })
    expect(stderr).toMatch(/PORT.*LOG_LEVEL.*WAVESPEED_APIKEY.*did you mean WAVESPEED_API_KEY\?/s)
    expect(await readdir(folder.path)).toEqual([])
  })

  test('reports in one sentence that the port is in use', async () => {
    await using folder = await emptyFolder()
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    expect(await failing(folder.path, { PORT: String(port) })).toContain(`in use`)
    await new Promise(resolve => server.close(resolve))
  })

  test.each([
    [
      'not a database',
      async (path: string) => writeFile(join(path, 'x.db'), 'x'.repeat(5000)),
      /is not a SQLite database/,
    ],
    ['in a missing folder', async () => {}, /folder .* does not exist/, 'file:nowhere/x.db'],
    ['a folder', async (path: string) => mkdir(join(path, 'x.db')), /can't be opened|not a/],
    [
      "another program's",
      async (path: string) => void new Database(join(path, 'x.db')).exec('create table t (a)').close(),
      /another program/,
    ],
  ])('reports in one sentence that the database is %s', async (_, prepare, message, url = 'file:x.db') => {
    await using folder = await emptyFolder()
    await prepare(folder.path)
    expect(await failing(folder.path, { DATABASE_URL: url })).toMatch(message)
  })

  test('rejects a database of another upstream, both ways', async () => {
    await using folder = await emptyFolder()
    const real = { WAVESPEED_API_KEY: 'k', WAVESPEED_BASE_URL: 'http://127.0.0.1:9' }
    for (const [own, other] of [
      [{}, real],
      [{ DATABASE_URL: 'file:data/real.db', ...real }, { DATABASE_URL: 'file:data/real.db' }],
    ] as const) {
      await using gateway = run('start.js', folder.path, { PORT, ...own })
      await gateway.untilPrinted(/listening/)
      gateway.child.kill('SIGTERM')
      await gateway.untilEnded()
      expect(await failing(folder.path, other)).toMatch(/belongs to (the simulator|http:\/\/127\.0\.0\.1:9)/)
    }
  })
})

describe('npm run demo', () => {
  test('in a pipe prints plain lines and ends with a playable video and 0, whatever key is set', async () => {
    await using folder = await emptyFolder()
    await using demo = run('cli/demo/demo.ts', folder.path, { WAVESPEED_API_KEY: 'a-real-one' })
    expect((await demo.untilEnded()).code).toBe(0)
    expect(demo.out).toMatch(/\d s {2}PROCESSING\n +\d+\.\d s {2}COMPLETED\n/)
    expect(demo.out).toMatch(/plays \(1920 × 1080, 5\.0 s, avc, \d+ KiB\):\n {2}http:\S+\.mp4/)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the output must not contain these
    expect(demo.out).not.toMatch(/\x1b|\r/)
    expect(await readdir(folder.path)).toEqual([])
  })

  test('reports an interruption and ends with 1', async () => {
    await using folder = await emptyFolder()
    await using demo = run('cli/demo/demo.ts', folder.path)
    await demo.untilPrinted(/CREATED/)
    demo.child.kill('SIGINT')
    expect((await demo.untilEnded()).code).toBe(1)
    expect(demo.err).toBe('demo: interrupted\n')
  })
})

test('npm run simulator passes its arguments on', async () => {
  await using folder = await emptyFolder()
  const args = ['run', 'simulator', '--', '--port', '0', '--key', 'mine', '--file', join(folder.path, 's.db')]
  const npm = spawn('npm', args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const ended = once(npm, 'close')
  let out = ''
  npm.stdout.on('data', chunk => {
    out += chunk
  })
  await until(() => out.includes('its key is "mine"'))
  process.kill(-npm.pid!, 'SIGTERM')
  await ended
})

test('the simulator runs alone, and reports in one sentence that its port is in use', async () => {
  await using folder = await emptyFolder()
  await using simulator = run('simulator/main.ts', folder.path, {}, ['--port', '0', '--key', 'mine'])
  const [, port] = await simulator.untilPrinted(
    /listens on http:\/\/127\.0\.0\.1:(\d+)\/api\/v3; its key is "mine"/,
  )
  await using second = run('simulator/main.ts', folder.path, {}, ['--port', port!])
  expect((await second.untilEnded()).code).toBe(1)
  expect(second.err).toMatch(/^simulator: the port is in use/)
  simulator.child.kill('SIGTERM')
  expect((await simulator.untilEnded()).code).toBe(0)
})
