import { connect } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Agent, request } from 'undici'
import { describe, expect, test } from 'vitest'
import { inFile } from '../support/file.ts'
import { emptyFolder, type Run, run } from '../support/process.ts'
import { until } from '../support/until.ts'
import { open as openWorld } from '../support/world.ts'

const SECOND = 1000
const DAY = 24 * 60 * 60 * SECOND
const PREDICTION = `prediction { id status retryOf { id } input { prompt seed } error { code } }`
const REFUSAL = `... on IdempotencyConflictError { ${PREDICTION} }
  ... on InvalidInputError { issues { path } }
  ... on Error { code retryable }`
const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  answer: submitVideo(input: $input) { __typename ... on SubmitVideoPayload { ${PREDICTION} } ${REFUSAL} }
}`
const RETRY = `mutation ($input: RetryPredictionInput!) {
  answer: retryPrediction(input: $input) { __typename ... on RetryPredictionPayload { ${PREDICTION} } ${REFUSAL} }
}`
const READ = `query ($id: ID!) { prediction(id: $id) { id status error { code } } }`

const VIDEO = { image: { url: 'https://images.example/cat.png' }, prompt: 'a cat sim:seconds=0' }
/** Fails at once. */
const FAILING = { ...VIDEO, prompt: 'a dog sim:seconds=0 sim:fail=1403' }

/** A world with a clock that stands still until it is moved. */
async function open(env: Record<string, string> = {}) {
  const world = await openWorld({ env, isStill: true })
  return Object.assign(world, {
    make: (input: object, as?: string) => world.ask(SUBMIT, input, as),
    retry: (input: object, as?: string) => world.ask(RETRY, input, as),
  })
}

const conflictWith = (id: string) => ({
  __typename: 'IdempotencyConflictError',
  code: 'IDEMPOTENCY_CONFLICT',
  retryable: false,
  prediction: { id },
})

describe('submitVideo', () => {
  test('answers the same key and input with the same prediction, however far it has come', async () => {
    await using world = await open()
    const input = { ...VIDEO, idempotencyKey: 'k', metadata: { a: 1, b: [2] }, tags: ['x'] }
    const first = await world.make(input)
    expect(first.__typename).toBe('SubmitVideoPayload')
    expect((await world.make(input)).prediction.id).toBe(first.prediction.id)
    await world.hurried(first.prediction.id, 'COMPLETED')
    expect(await world.make({ ...input, metadata: { b: [2], a: 1 } })).toMatchObject({
      __typename: 'SubmitVideoPayload',
      prediction: { id: first.prediction.id, status: 'COMPLETED' },
    })
    // Every default spelled out is the same input.
    const spelled = { model: 'WAN_2_2_I2V_PLUS_1080P', duration: 5, seed: -1, enablePromptExpansion: false }
    expect((await world.make({ ...input, ...spelled, negativePrompt: null })).prediction.id).toBe(
      first.prediction.id,
    )
    expect(world.rows()).toBe(1)
    expect(world.posts()).toEqual([VIDEO.prompt])
  })

  test('answers the same key with another input, whatever differs, with the first prediction, as a conflict', async () => {
    await using world = await open()
    const others = {
      prompt: { prompt: 'another cat' },
      image: { image: { url: 'https://images.example/dog.png' } },
      model: { model: 'WAN_2_2_I2V_PLUS_480P' },
      'negative prompt': { negativePrompt: 'blur' },
      'prompt expansion': { enablePromptExpansion: true },
      seed: { seed: 1 },
      tags: { tags: ['x'] },
      metadata: { metadata: { a: 1 } },
    }
    for (const [idempotencyKey, other] of Object.entries(others)) {
      const { prediction } = await world.make({ ...VIDEO, idempotencyKey })
      const answer = await world.make({ ...VIDEO, ...other, idempotencyKey })
      expect(answer, `another ${idempotencyKey}`).toMatchObject(conflictWith(prediction.id))
    }
    expect(world.rows()).toBe(Object.keys(others).length)
  })

  test('takes keys as they are written: case, spaces and length tell one from another', async () => {
    await using world = await open()
    const keys = ['k', 'K', ' k', 'k ', 'kk', 'ü', 'u\u0308', '🎬'.repeat(255), '🎬'.repeat(254)]
    const ids = []
    for (const idempotencyKey of keys)
      ids.push((await world.make({ ...VIDEO, idempotencyKey })).prediction.id)
    expect(new Set(ids).size).toBe(keys.length)
    expect(world.rows()).toBe(keys.length)
  })

  test('without a key is another prediction each time', async () => {
    await using world = await open()
    const ids = [await world.make(VIDEO), await world.make({ ...VIDEO, idempotencyKey: null })]
    expect(new Set(ids.map(answer => answer.prediction.id)).size).toBe(2)
  })

  test('refused for its input leaves its key free', async () => {
    await using world = await open()
    expect((await world.make({ ...VIDEO, prompt: '', idempotencyKey: 'k' })).code).toBe('INVALID_INPUT')
    expect((await world.make({ ...VIDEO, idempotencyKey: 'k' })).prediction.id).toBeDefined()
  })

  test('fifty times at once, among other keys, another input and another app, is one row and one POST', async () => {
    await using world = await open()
    const other = await world.otherApp()
    const mine = { ...VIDEO, prompt: 'mine sim:seconds=0', idempotencyKey: 'k' }
    const conflicting = { ...mine, prompt: 'not mine' }
    const theirs = { ...mine, prompt: 'theirs sim:seconds=0' }
    const first = await world.make({ ...mine, idempotencyKey: 'early', prompt: 'early sim:seconds=0' })
    const asked = Array.from({ length: 50 }, (_, n) =>
      Promise.all([
        world.make(mine),
        n % 10 === 0 && world.make({ ...mine, idempotencyKey: `k${n}`, prompt: `${n} sim:seconds=0` }),
        n % 5 === 0 && world.make(theirs, other),
        n % 5 === 0 && world.make({ ...conflicting, idempotencyKey: 'early' }),
      ]),
    )
    const answers = await Promise.all(asked)
    const idsOf = (nth: number) =>
      answers.flatMap(row => (row[nth] === false ? [] : [row[nth].prediction.id as string]))
    const [own, others, strangers, conflicts] = [0, 1, 2, 3].map(nth => new Set(idsOf(nth)))
    expect([own, others, strangers, conflicts].map(ids => ids?.size)).toEqual([1, 5, 1, 1])
    expect(conflicts).toEqual(new Set([first.prediction.id]))
    expect(answers.every(row => row[0].__typename === 'SubmitVideoPayload')).toBe(true)
    expect(world.rows()).toBe(1 + 1 + 5 + 1)
    await until(() => world.posts().length >= 8)
    for (const id of [...own!, ...others!]) await world.hurried(id, 'COMPLETED')
    const expected = ['early', 'mine', 'theirs', '0', '10', '20', '30', '40']
    expect(world.posts().sort()).toEqual(expected.map(prompt => `${prompt} sim:seconds=0`).sort())
  })

  test("another app's same key is its own, and a conflict never shows a stranger's prediction", async () => {
    await using world = await open()
    const other = await world.otherApp()
    const mine = await world.make({ ...VIDEO, idempotencyKey: 'k' })
    const theirs = await world.make({ ...VIDEO, idempotencyKey: 'k' }, other)
    expect(theirs.__typename).toBe('SubmitVideoPayload')
    expect(theirs.prediction.id).not.toBe(mine.prediction.id)
    const conflict = await world.make({ ...VIDEO, seed: 3, idempotencyKey: 'k' }, other)
    expect(conflict).toMatchObject(conflictWith(theirs.prediction.id))
  })
})

describe('a key', () => {
  test('holds for 24 hours to the millisecond, then is free again, for this and for another input', async () => {
    await using world = await open()
    const keys = ['same', 'other']
    const first = []
    for (const idempotencyKey of keys) first.push((await world.make({ ...VIDEO, idempotencyKey })).prediction)
    world.leap(DAY - 1)
    expect((await world.make({ ...VIDEO, idempotencyKey: 'same' })).prediction.id).toBe(first[0].id)
    expect(await world.make({ ...VIDEO, seed: 2, idempotencyKey: 'other' })).toMatchObject(
      conflictWith(first[1].id),
    )
    // What was only asked again did not make it hold for longer.
    world.leap(1)
    const again = (await world.make({ ...VIDEO, idempotencyKey: 'same' })).prediction
    expect(again.id).not.toBe(first[0].id)
    const another = await world.make({ ...VIDEO, seed: 2, idempotencyKey: 'other' })
    expect(another).toMatchObject({ __typename: 'SubmitVideoPayload', prediction: { input: { seed: 2 } } })
    expect(another.prediction.id).not.toBe(first[1].id)
    expect((await world.make({ ...VIDEO, idempotencyKey: 'same' })).prediction.id).toBe(again.id)
    expect(await world.make({ ...VIDEO, idempotencyKey: 'other' })).toMatchObject(
      conflictWith(another.prediction.id),
    )
    expect(world.rows()).toBe(4)
  })

  test('of retryPrediction holds for 24 hours to the millisecond, then is free again', async () => {
    await using world = await open()
    const { id } = (await world.make(FAILING)).prediction
    await world.hurried(id, 'FAILED')
    const first = await world.retry({ id, idempotencyKey: 'k' })
    world.leap(DAY - 1)
    expect((await world.retry({ id, idempotencyKey: 'k' })).prediction.id).toBe(first.prediction.id)
    world.leap(1)
    const again = await world.retry({ id, idempotencyKey: 'k' })
    expect(again).toMatchObject({ __typename: 'RetryPredictionPayload', prediction: { retryOf: { id } } })
    expect(again.prediction.id).not.toBe(first.prediction.id)
  })
})

describe('retryPrediction and submitVideo share one space of keys', () => {
  test('a key of submitVideo conflicts in retryPrediction, even for the very prediction it made, and the other way round', async () => {
    await using world = await open()
    const submitted = { ...FAILING, idempotencyKey: 'submit' }
    const { id } = (await world.make(submitted)).prediction
    await world.hurried(id, 'FAILED')
    expect(await world.retry({ id, idempotencyKey: 'submit' })).toMatchObject(conflictWith(id))

    const retried = await world.retry({ id, idempotencyKey: 'retry' })
    expect(retried).toMatchObject({ __typename: 'RetryPredictionPayload', prediction: { retryOf: { id } } })
    expect(await world.make({ ...FAILING, idempotencyKey: 'retry' })).toMatchObject(
      conflictWith(retried.prediction.id),
    )
    expect((await world.make(submitted)).prediction.id).toBe(id)
    expect((await world.retry({ id, idempotencyKey: 'retry' })).prediction.id).toBe(retried.prediction.id)
    expect(world.rows()).toBe(2)
  })

  test('the same key for the retry of another prediction conflicts', async () => {
    await using world = await open()
    const olds = [await world.make(FAILING), await world.make(FAILING)].map(answer => answer.prediction.id)
    for (const id of olds) await world.hurried(id, 'FAILED')
    const first = await world.retry({ id: olds[0], idempotencyKey: 'k' })
    expect(await world.retry({ id: olds[1], idempotencyKey: 'k' })).toMatchObject(
      conflictWith(first.prediction.id),
    )
  })

  test('fifty retries at once, with submits of the same key among them, make one row and one POST', async () => {
    await using world = await open()
    const { id } = (await world.make(FAILING)).prediction
    await world.hurried(id, 'FAILED')
    const asked = Array.from({ length: 50 }, async (_, n) =>
      n % 5 === 0 ? world.make({ ...VIDEO, idempotencyKey: 'k' }) : world.retry({ id, idempotencyKey: 'k' }),
    )
    const answers = await Promise.all(asked)
    expect(new Set(answers.map(answer => answer.prediction.id)).size).toBe(1)
    // Whichever came first, all of its kind have it and all others conflict.
    const kinds = answers.map(answer => answer.__typename)
    const isRetried = kinds[1] === 'RetryPredictionPayload'
    expect(kinds).toEqual(
      kinds.map((_, n) =>
        n % 5 === 0
          ? isRetried
            ? 'IdempotencyConflictError'
            : 'SubmitVideoPayload'
          : isRetried
            ? 'RetryPredictionPayload'
            : 'IdempotencyConflictError',
      ),
    )
    await until(() => world.posts().length === 2)
    await world.hurried(answers[0].prediction.id, isRetried ? 'FAILED' : 'COMPLETED')
    expect(world.posts()).toHaveLength(2)
    expect(world.rows()).toBe(2)
  })

  test('the same retry is answered with the same prediction, even after the old one was corrected to COMPLETED', async () => {
    await using world = await open({ UPSTREAM_DEADLINE_MS: '5000' })
    const { id } = (await world.make({ ...VIDEO, prompt: 'slow sim:seconds=3600' })).prediction
    expect(await world.hurried(id, 'FAILED')).toMatchObject({ error: { code: 'TIMED_OUT' } })
    const first = await world.retry({ id, idempotencyKey: 'k' })
    world.gateway.simulator?.advance(3601 * SECOND)
    world.leap(3600 * SECOND)
    expect(await world.hurried(id, 'COMPLETED')).toMatchObject({ error: null })

    expect(await world.retry({ id, idempotencyKey: 'k' })).toMatchObject({
      __typename: 'RetryPredictionPayload',
      prediction: { id: first.prediction.id },
    })
    for (const more of [{}, { idempotencyKey: 'another' }])
      expect(await world.retry({ id, ...more })).toMatchObject({
        __typename: 'InvalidInputError',
        issues: [{ path: ['input', 'id'] }],
      })
    expect(world.rows()).toBe(2)
  })
})

describe('across a SIGKILL', () => {
  interface Address {
    url: string
    key: string
  }
  const addressOf = async (gateway: Run): Promise<Address & { image: string }> => {
    const [, url] = await gateway.printed(/GraphQL +(\S+)/)
    const [, key] = await gateway.printed(/Key +(rsh_\S+)/)
    const [, simulator] = await gateway.printed(/SIMULATOR at (\S+)/)
    return { url: url!, key: key!, image: `${simulator}/files/sample.jpg` }
  }

  async function ask({ url, key }: Address, query: string, variables: object) {
    const dispatcher = new Agent({ pipelining: 0 })
    try {
      const { body } = await request(url, {
        dispatcher,
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ query, variables }),
      })
      // biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
      return ((await body.json()) as any).data
    } finally {
      await dispatcher.destroy()
    }
  }

  const column = (file: string, sql: string): unknown[] => inFile(file, db => db.prepare(sql).pluck().all())
  const waiting = (file: string) => column(file, `select id from predictions where status <> 'COMPLETED'`)

  /** Sends it, and kills the gateway the moment its file shows the row. Whether any of an answer had come by then. */
  async function killAtCommit(gateway: Run, { url, key }: Address, file: string, input: { prompt: string }) {
    const body = JSON.stringify({ query: SUBMIT, variables: { input } })
    const { hostname, port, pathname } = new URL(url)
    const socket = connect(Number(port), hostname).on('error', () => {})
    let answer = ''
    socket.on('data', chunk => {
      answer += chunk
    })
    const db = new Database(file, { readonly: true })
    try {
      const rowOf = db.prepare('select id from predictions where prompt = ?').pluck()
      const lines = [
        `POST ${pathname} HTTP/1.1`,
        `Host: ${hostname}:${port}`,
        `Authorization: Bearer ${key}`,
        'Content-Type: application/json',
        `Content-Length: ${Buffer.byteLength(body)}`,
      ]
      await new Promise<void>(resolve =>
        socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`, () => resolve()),
      )
      const deadline = Date.now() + 5000
      let row: unknown
      // Nothing else happens in this process meanwhile, so no answer is read.
      while (row === undefined && Date.now() < deadline) row = rowOf.get(input.prompt)
      gateway.child.kill('SIGKILL')
      await gateway.ended()
      return { row: row as string, answer }
    } finally {
      db.close()
      socket.destroy()
      await until(() => socket.closed)
    }
  }

  test('between commit and answer, the same key and input is the same prediction, one row and one job upstream', async () => {
    await using folder = await emptyFolder()
    const file = (name: string) => join(folder.path, 'data', name)
    const env = { PORT: '0', POLL_MIN_INTERVAL_MS: '50', POLL_MAX_INTERVAL_MS: '200' }
    const killed: { input: typeof VIDEO & { idempotencyKey: string }; row: string; answer: string }[] = []
    // Until one was killed before it could answer, which on a busy machine need not be the first.
    for (let round = 0; round < 5 && killed.every(({ answer }) => answer !== ''); round++) {
      await using gateway = run('start.js', folder.path, env)
      const address = await addressOf(gateway)
      // An earlier one's POST must not be what is cut off.
      await until(() => waiting(file('rushes.db')).length === 0)
      const prompt = `round ${round} sim:seconds=0`
      const input = { image: { url: address.image }, prompt, idempotencyKey: `k${round}` }
      killed.push({ input, ...(await killAtCommit(gateway, address, file('rushes.db'), input)) })
    }
    expect(killed.map(({ answer }) => answer)).toContain('')

    await using gateway = run('start.js', folder.path, env)
    const address = await addressOf(gateway)
    for (const { input, row } of killed) {
      const again = { ...input, image: { url: input.image.url } }
      const answers = await Promise.all([1, 2, 3].map(() => ask(address, SUBMIT, { input: again })))
      const ids = new Set(answers.map(({ answer }) => answer.prediction.id))
      expect([...ids]).toEqual([Buffer.from(`Prediction:${row}`).toString('base64url')])
      const { answer } = await ask(address, SUBMIT, { input: { ...again, seed: 7 } })
      expect(answer).toMatchObject(conflictWith([...ids][0]))
      await until(
        async () => (await ask(address, READ, { id: [...ids][0] })).prediction.status === 'COMPLETED',
      )
    }
    const prompts = killed.map(({ input }) => input.prompt)
    expect(column(file('rushes.db'), 'select prompt from predictions order by created_at')).toEqual(prompts)
    expect(
      column(file('simulator.db'), "select job ->> '$.input.prompt' from jobs order by created_at"),
    ).toEqual(prompts)
  })
})
