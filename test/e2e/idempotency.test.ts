import { connect } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Agent, request } from 'undici'
import { describe, expect, test } from 'vitest'
import { queryDatabaseFile } from '../support/database-file.ts'
import { emptyFolder, type Run, run } from '../support/process.ts'
import { until } from '../support/until.ts'
import { openWorld } from '../support/world.ts'

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

/** A world whose clock stands still until it is moved. */
async function open(env: Record<string, string> = {}) {
  const world = await openWorld({ env, isClockFrozen: true })
  return Object.assign(world, {
    submitVideo: (input: object, as?: string) => world.mutate(SUBMIT, input, as),
    retry: (input: object, as?: string) => world.mutate(RETRY, input, as),
  })
}

const conflictError = (id: string) => ({
  __typename: 'IdempotencyConflictError',
  code: 'IDEMPOTENCY_CONFLICT',
  retryable: false,
  prediction: { id },
})

describe('submitVideo', () => {
  test('answers the same key and input with the same prediction, however far it has come', async () => {
    await using world = await open()
    const input = { ...VIDEO, idempotencyKey: 'k', metadata: { a: 1, b: [2] }, tags: ['x'] }
    const first = await world.submitVideo(input)
    expect(first.__typename).toBe('SubmitVideoPayload')
    expect((await world.submitVideo(input)).prediction.id).toBe(first.prediction.id)
    await world.fastForwardToStatus(first.prediction.id, 'COMPLETED')
    expect(await world.submitVideo({ ...input, metadata: { b: [2], a: 1 } })).toMatchObject({
      __typename: 'SubmitVideoPayload',
      prediction: { id: first.prediction.id, status: 'COMPLETED' },
    })
    // The defaults written out are the same input.
    const spelled = { model: 'WAN_2_2_I2V_PLUS_1080P', duration: 5, seed: -1, enablePromptExpansion: false }
    expect((await world.submitVideo({ ...input, ...spelled, negativePrompt: null })).prediction.id).toBe(
      first.prediction.id,
    )
    expect(await world.predictionCount()).toBe(1)
    expect(world.submittedPrompts()).toEqual([VIDEO.prompt])
  })

  test('answers the same key with another input with a conflict that names the first prediction, whatever differs', async () => {
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
      const { prediction } = await world.submitVideo({ ...VIDEO, idempotencyKey })
      const answer = await world.submitVideo({ ...VIDEO, ...other, idempotencyKey })
      expect(answer, `another ${idempotencyKey}`).toMatchObject(conflictError(prediction.id))
    }
    expect(await world.predictionCount()).toBe(Object.keys(others).length)
  })

  test('compares keys exactly: case, spaces and length count', async () => {
    await using world = await open()
    const keys = ['k', 'K', ' k', 'k ', 'kk', 'ü', 'u\u0308', '🎬'.repeat(255), '🎬'.repeat(254)]
    const ids = []
    for (const idempotencyKey of keys)
      ids.push((await world.submitVideo({ ...VIDEO, idempotencyKey })).prediction.id)
    expect(new Set(ids).size).toBe(keys.length)
    expect(await world.predictionCount()).toBe(keys.length)
  })

  test('without a key creates another prediction each time', async () => {
    await using world = await open()
    const ids = [await world.submitVideo(VIDEO), await world.submitVideo({ ...VIDEO, idempotencyKey: null })]
    expect(new Set(ids.map(answer => answer.prediction.id)).size).toBe(2)
  })

  test('with an invalid input leaves its key free', async () => {
    await using world = await open()
    expect((await world.submitVideo({ ...VIDEO, prompt: '', idempotencyKey: 'k' })).code).toBe(
      'INVALID_INPUT',
    )
    expect((await world.submitVideo({ ...VIDEO, idempotencyKey: 'k' })).prediction.id).toBeDefined()
  })

  test('fifty times at once, among other keys, another input and another app, makes one row and one POST', async () => {
    await using world = await open()
    const other = await world.otherAppKey()
    const mine = { ...VIDEO, prompt: 'mine sim:seconds=0', idempotencyKey: 'k' }
    const conflicting = { ...mine, prompt: 'not mine' }
    const theirs = { ...mine, prompt: 'theirs sim:seconds=0' }
    const first = await world.submitVideo({ ...mine, idempotencyKey: 'early', prompt: 'early sim:seconds=0' })
    const requests = Array.from({ length: 50 }, (_, n) =>
      Promise.all([
        world.submitVideo(mine),
        n % 10 === 0 && world.submitVideo({ ...mine, idempotencyKey: `k${n}`, prompt: `${n} sim:seconds=0` }),
        n % 5 === 0 && world.submitVideo(theirs, other),
        n % 5 === 0 && world.submitVideo({ ...conflicting, idempotencyKey: 'early' }),
      ]),
    )
    const answers = await Promise.all(requests)
    const idsOf = (nth: number) =>
      answers.flatMap(row => (row[nth] === false ? [] : [row[nth].prediction.id as string]))
    const [own, others, strangers, conflicts] = [0, 1, 2, 3].map(nth => new Set(idsOf(nth)))
    expect([own, others, strangers, conflicts].map(ids => ids?.size)).toEqual([1, 5, 1, 1])
    expect(conflicts).toEqual(new Set([first.prediction.id]))
    expect(answers.every(row => row[0].__typename === 'SubmitVideoPayload')).toBe(true)
    expect(await world.predictionCount()).toBe(1 + 1 + 5 + 1)
    await until(() => world.submittedPrompts().length >= 8)
    for (const id of [...own!, ...others!]) await world.fastForwardToStatus(id, 'COMPLETED')
    const expected = ['early', 'mine', 'theirs', '0', '10', '20', '30', '40']
    expect(world.submittedPrompts().sort()).toEqual(expected.map(prompt => `${prompt} sim:seconds=0`).sort())
  })

  test("the same key of another app is independent, and a conflict never shows another app's prediction", async () => {
    await using world = await open()
    const other = await world.otherAppKey()
    const mine = await world.submitVideo({ ...VIDEO, idempotencyKey: 'k' })
    const theirs = await world.submitVideo({ ...VIDEO, idempotencyKey: 'k' }, other)
    expect(theirs.__typename).toBe('SubmitVideoPayload')
    expect(theirs.prediction.id).not.toBe(mine.prediction.id)
    const conflict = await world.submitVideo({ ...VIDEO, seed: 3, idempotencyKey: 'k' }, other)
    expect(conflict).toMatchObject(conflictError(theirs.prediction.id))
  })
})

describe('a key', () => {
  test('holds for 24 hours to the millisecond, then is free again, for this and for another input', async () => {
    await using world = await open()
    const keys = ['same', 'other']
    const first = []
    for (const idempotencyKey of keys)
      first.push((await world.submitVideo({ ...VIDEO, idempotencyKey })).prediction)
    world.advanceClock(DAY - 1)
    expect((await world.submitVideo({ ...VIDEO, idempotencyKey: 'same' })).prediction.id).toBe(first[0].id)
    expect(await world.submitVideo({ ...VIDEO, seed: 2, idempotencyKey: 'other' })).toMatchObject(
      conflictError(first[1].id),
    )
    // Repeated requests have not extended its life.
    world.advanceClock(1)
    const again = (await world.submitVideo({ ...VIDEO, idempotencyKey: 'same' })).prediction
    expect(again.id).not.toBe(first[0].id)
    const another = await world.submitVideo({ ...VIDEO, seed: 2, idempotencyKey: 'other' })
    expect(another).toMatchObject({ __typename: 'SubmitVideoPayload', prediction: { input: { seed: 2 } } })
    expect(another.prediction.id).not.toBe(first[1].id)
    expect((await world.submitVideo({ ...VIDEO, idempotencyKey: 'same' })).prediction.id).toBe(again.id)
    expect(await world.submitVideo({ ...VIDEO, idempotencyKey: 'other' })).toMatchObject(
      conflictError(another.prediction.id),
    )
    expect(await world.predictionCount()).toBe(4)
  })

  test('of retryPrediction holds for 24 hours to the millisecond, then is free again', async () => {
    await using world = await open()
    const { id } = (await world.submitVideo(FAILING)).prediction
    await world.fastForwardToStatus(id, 'FAILED')
    const first = await world.retry({ id, idempotencyKey: 'k' })
    world.advanceClock(DAY - 1)
    expect((await world.retry({ id, idempotencyKey: 'k' })).prediction.id).toBe(first.prediction.id)
    world.advanceClock(1)
    const again = await world.retry({ id, idempotencyKey: 'k' })
    expect(again).toMatchObject({ __typename: 'RetryPredictionPayload', prediction: { retryOf: { id } } })
    expect(again.prediction.id).not.toBe(first.prediction.id)
  })
})

describe('retryPrediction and submitVideo share one space of keys', () => {
  test('a key of submitVideo conflicts in retryPrediction, even for the prediction that it created, and the other way round', async () => {
    await using world = await open()
    const submitted = { ...FAILING, idempotencyKey: 'submit' }
    const { id } = (await world.submitVideo(submitted)).prediction
    await world.fastForwardToStatus(id, 'FAILED')
    expect(await world.retry({ id, idempotencyKey: 'submit' })).toMatchObject(conflictError(id))

    const retried = await world.retry({ id, idempotencyKey: 'retry' })
    expect(retried).toMatchObject({ __typename: 'RetryPredictionPayload', prediction: { retryOf: { id } } })
    expect(await world.submitVideo({ ...FAILING, idempotencyKey: 'retry' })).toMatchObject(
      conflictError(retried.prediction.id),
    )
    expect((await world.submitVideo(submitted)).prediction.id).toBe(id)
    expect((await world.retry({ id, idempotencyKey: 'retry' })).prediction.id).toBe(retried.prediction.id)
    expect(await world.predictionCount()).toBe(2)
  })

  test('the same key for the retry of another prediction conflicts', async () => {
    await using world = await open()
    const olds = [await world.submitVideo(FAILING), await world.submitVideo(FAILING)].map(
      answer => answer.prediction.id,
    )
    for (const id of olds) await world.fastForwardToStatus(id, 'FAILED')
    const first = await world.retry({ id: olds[0], idempotencyKey: 'k' })
    expect(await world.retry({ id: olds[1], idempotencyKey: 'k' })).toMatchObject(
      conflictError(first.prediction.id),
    )
  })

  test('fifty retries at once, with submits of the same key beside them, make one row and one POST', async () => {
    await using world = await open()
    const { id } = (await world.submitVideo(FAILING)).prediction
    await world.fastForwardToStatus(id, 'FAILED')
    const asked = Array.from({ length: 50 }, async (_, n) =>
      n % 5 === 0
        ? world.submitVideo({ ...VIDEO, idempotencyKey: 'k' })
        : world.retry({ id, idempotencyKey: 'k' }),
    )
    const answers = await Promise.all(asked)
    expect(new Set(answers.map(answer => answer.prediction.id)).size).toBe(1)
    // All requests of the kind that came first return its prediction, and all others conflict.
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
    await until(() => world.submittedPrompts().length === 2)
    await world.fastForwardToStatus(answers[0].prediction.id, isRetried ? 'FAILED' : 'COMPLETED')
    expect(world.submittedPrompts()).toHaveLength(2)
    expect(await world.predictionCount()).toBe(2)
  })

  test('the same retry returns the same prediction, even after the old one was corrected to COMPLETED', async () => {
    await using world = await open({ UPSTREAM_DEADLINE_MS: '5000' })
    const { id } = (await world.submitVideo({ ...VIDEO, prompt: 'slow sim:seconds=3600' })).prediction
    expect(await world.fastForwardToStatus(id, 'FAILED')).toMatchObject({ error: { code: 'TIMED_OUT' } })
    const first = await world.retry({ id, idempotencyKey: 'k' })
    world.gateway.simulator?.advance(3601 * SECOND)
    world.advanceClock(3600 * SECOND)
    expect(await world.fastForwardToStatus(id, 'COMPLETED')).toMatchObject({ error: null })

    expect(await world.retry({ id, idempotencyKey: 'k' })).toMatchObject({
      __typename: 'RetryPredictionPayload',
      prediction: { id: first.prediction.id },
    })
    for (const more of [{}, { idempotencyKey: 'another' }])
      expect(await world.retry({ id, ...more })).toMatchObject({
        __typename: 'InvalidInputError',
        issues: [{ path: ['input', 'id'] }],
      })
    expect(await world.predictionCount()).toBe(2)
  })
})

describe('across a SIGKILL', () => {
  interface GatewayAddress {
    url: string
    key: string
  }
  const addressOf = async (gateway: Run): Promise<GatewayAddress & { image: string }> => {
    const [, url] = await gateway.untilPrinted(/GraphQL +(\S+)/)
    const [, key] = await gateway.untilPrinted(/Key +(rsh_\S+)/)
    const [, simulator] = await gateway.untilPrinted(/SIMULATOR at (\S+)/)
    return { url: url!, key: key!, image: `${simulator}/files/sample.jpg` }
  }

  async function ask({ url, key }: GatewayAddress, query: string, variables: object) {
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

  const column = (file: string, sql: string): unknown[] =>
    queryDatabaseFile(file, db => db.prepare(sql).pluck().all())
  const waiting = (file: string) => column(file, `select id from predictions where status <> 'COMPLETED'`)

  /**
   * Submits, and kills the gateway as soon as its file has the row. Returns the part of an answer that had come by
   * then.
   */
  async function killAtCommit(
    gateway: Run,
    { url, key }: GatewayAddress,
    file: string,
    input: { prompt: string },
  ) {
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
      // This loop blocks the process, so no answer is read meanwhile.
      while (row === undefined && Date.now() < deadline) row = rowOf.get(input.prompt)
      gateway.child.kill('SIGKILL')
      await gateway.untilEnded()
      return { row: row as string, answer }
    } finally {
      db.close()
      socket.destroy()
      await until(() => socket.closed)
    }
  }

  test('between commit and answer, the same key and input make one prediction, one row and one upstream job', async () => {
    await using folder = await emptyFolder()
    const file = (name: string) => join(folder.path, 'data', name)
    const env = { PORT: '0', POLL_MIN_INTERVAL_MS: '50', POLL_MAX_INTERVAL_MS: '200' }
    const killed: { input: typeof VIDEO & { idempotencyKey: string }; row: string; answer: string }[] = []
    // Repeats until a kill came before the answer, which on a busy machine need not be the first one.
    for (let round = 0; round < 5 && killed.every(({ answer }) => answer !== ''); round++) {
      await using gateway = run('start.js', folder.path, env)
      const address = await addressOf(gateway)
      // The kill must not cut off the POST of an earlier job.
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
      expect(answer).toMatchObject(conflictError([...ids][0]))
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
