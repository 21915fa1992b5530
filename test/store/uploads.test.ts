import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createRestriction, createScope, fullScope, type Scope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { canceled } from '../../src/domain/transitions.ts'
import { UPLOAD_RETENTION_MS, type Upload } from '../../src/domain/upload.ts'
import type { Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  fixture,
  HOUR,
  INPUT,
  newApp,
  submitAll,
  T,
  verifyAllImages,
} from '../support/store.ts'
import { png } from '../support/upload.ts'

const GIB = 1024 ** 3
const KIB = 1024

const newUpload = (scope: Scope, data: Buffer) => ({
  image: {
    appId: scope.appId,
    hash: createHash('sha256').update(data).digest('hex'),
    contentType: 'image/png' as const,
    width: 640,
    height: 480,
    bytes: data.length,
  },
  restrictionKey: scope.restrictionKey,
  data,
})

const keepUpload = (store: Store, scope: Scope, data: Buffer, maxBytes = GIB, now = T) =>
  store.saveUpload(newUpload(scope, data), maxBytes, now)

async function keepOrThrow(...asked: Parameters<typeof keepUpload>) {
  const keeping = await keepUpload(...asked)
  if (keeping.kind === 'refused') throw new Error('refused')
  return keeping.upload
}

async function bytesOf(store: Store, image: { appId: AppId; hash: string }): Promise<Buffer> {
  const read: Buffer[] = []
  for (let part = 0; ; part++) {
    const data = await store.imageChunk(image, part)
    if (data === null) return Buffer.concat(read)
    read.push(data)
  }
}

/** Prunes until nothing is left; returns the number of steps. */
async function prune(store: Store, now: number): Promise<number> {
  let steps = 0
  while (await store.pruneUploads(now)) steps++
  return steps
}

describe.each(ENGINES)('%s', (_, { open }) => {
  test.each([1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 3_000_000])(
    'an upload of %i bytes is read as it was written',
    async size => {
      await using f = await fixture(open)
      const data = png(size).subarray(0, size)
      const upload = await keepOrThrow(f.store, fullScope(f.app), data)
      expect(upload).toMatchObject({
        appId: f.app,
        restrictionKey: '',
        bytes: size,
        expiresAt: T + UPLOAD_RETENTION_MS,
      })
      expect((await bytesOf(f.store, upload)).equals(data)).toBe(true)
      expect(await f.store.uploadByPreviewToken(upload.previewToken)).toEqual(upload)
      expect(await f.store.uploadByPreviewToken(upload.id)).toBeNull()
    },
  )

  test('the same bytes are the same upload, stored for seven days after the last time', async () => {
    await using f = await fixture(open)
    const data = png()
    const first = await keepOrThrow(f.store, fullScope(f.app), data)
    const again = await keepOrThrow(f.store, fullScope(f.app), data, GIB, T + HOUR)
    expect(again).toEqual({ ...first, expiresAt: T + HOUR + UPLOAD_RETENTION_MS })
    expect((await keepOrThrow(f.store, fullScope(f.app), png())).id).not.toBe(first.id)
  })

  test('the same bytes from another app, or from a restricted token, are another upload', async () => {
    await using f = await fixture(open)
    const data = png()
    const scopes = [
      fullScope(f.app),
      fullScope(await newApp(f.store)),
      createScope(f.app, createRestriction(['a'], [])),
      createScope(f.app, createRestriction(['b'], [])),
    ] as const
    const made: Upload[] = []
    for (const scope of scopes) made.push(await keepOrThrow(f.store, scope, data))
    expect(new Set(made.map(({ id }) => id)).size).toBe(4)
    expect(new Set(made.map(({ previewToken }) => previewToken)).size).toBe(4)
    const seen = await Promise.all(
      scopes.map(async scope => {
        const ids = made.map(({ id }) => id)
        return (await f.store.getUploads(scope, ids, T)).map(upload => upload !== null)
      }),
    )
    expect(seen).toEqual([
      [true, false, true, true],
      [false, true, false, false],
      [false, false, true, false],
      [false, false, false, true],
    ])
  })

  test('an upload is found until it expires and not after, whether it was pruned or not', async () => {
    await using f = await fixture(open)
    const { id, expiresAt } = await keepOrThrow(f.store, fullScope(f.app), png())
    const at = async (now: number) => (await f.store.getUploads(fullScope(f.app), [id], now))[0]?.id ?? null
    expect([await at(T), await at(expiresAt - 1), await at(expiresAt)]).toEqual([id, id, null])
  })

  test('concurrent uploads cannot exceed what an app may store', async () => {
    await using f = await fixture(open)
    const keepings = await Promise.all(
      Array.from({ length: 20 }, () => keepUpload(f.store, fullScope(f.app), png(100 * KIB), 1000 * KIB)),
    )
    expect(keepings.filter(({ kind }) => kind === 'kept')).toHaveLength(10)
    // Another app has a quota of its own.
    expect((await keepUpload(f.store, fullScope(await newApp(f.store)), png(), 1000 * KIB)).kind).toBe('kept')
  })

  test('twenty concurrent uploads of the same bytes are one upload, counted once', async () => {
    await using f = await fixture(open)
    const data = png(600 * KIB)
    const keepings = await Promise.all(
      Array.from({ length: 20 }, () => keepOrThrow(f.store, fullScope(f.app), data, 1000 * KIB)),
    )
    expect(new Set(keepings.map(({ id }) => id)).size).toBe(1)
    expect((await bytesOf(f.store, keepings[0]!)).equals(data)).toBe(true)
  })

  test('a refusal says when there is space, and then there is', async () => {
    await using f = await fixture(open)
    const scope = fullScope(f.app)
    for (const [i, size] of [300, 400, 300].entries())
      await keepOrThrow(f.store, scope, png(size * KIB), 1000 * KIB, T + i * HOUR)
    const now = T + 3 * HOUR
    const expectRejected = async (size: number) => {
      const keeping = await keepUpload(f.store, scope, png(size * KIB), 1000 * KIB, now)
      return keeping.kind === 'refused' ? keeping.retryAfterMs : null
    }
    const [small, large] = [await expectRejected(300), await expectRejected(301)]
    expect(small).toBe(UPLOAD_RETENTION_MS - 3 * HOUR + 30_000)
    expect(large).toBe(UPLOAD_RETENTION_MS - 2 * HOUR + 30_000)
    await prune(f.store, now + small!)
    expect((await keepUpload(f.store, scope, png(301 * KIB), 1000 * KIB, now + small!)).kind).toBe('refused')
    expect((await keepUpload(f.store, scope, png(300 * KIB), 1000 * KIB, now + small!)).kind).toBe('kept')
  })

  test('a tiny image counts for 64 KiB, so that there cannot be millions', async () => {
    await using f = await fixture(open)
    for (let n = 0; n < 4; n++) await keepOrThrow(f.store, fullScope(f.app), png(100), 256 * KIB)
    expect((await keepUpload(f.store, fullScope(f.app), png(100), 256 * KIB)).kind).toBe('refused')
  })

  test('expired uploads are pruned in small steps, and their space is free', async () => {
    await using f = await fixture(open)
    const upload = await keepOrThrow(f.store, fullScope(f.app), png(5_000_000), 6_000_000)
    expect(await prune(f.store, upload.expiresAt - 1)).toBe(0)
    expect(await prune(f.store, upload.expiresAt)).toBeGreaterThan(4)
    expect(await f.store.uploadByPreviewToken(upload.previewToken)).toBeNull()
    expect(await f.store.imageChunk(upload, 0)).toBeNull()
    expect((await keepUpload(f.store, fullScope(f.app), png(5_000_000), 6_000_000)).kind).toBe('kept')
  })

  test('bytes stay as long as an upload with another restriction needs them', async () => {
    await using f = await fixture(open)
    const data = png()
    const first = await keepOrThrow(f.store, fullScope(f.app), data)
    const scope = createScope(f.app, createRestriction(['a'], []))
    const second = await keepOrThrow(f.store, scope, data, GIB, T + HOUR)
    await prune(f.store, first.expiresAt)
    expect(await f.store.uploadByPreviewToken(first.previewToken)).toBeNull()
    expect((await bytesOf(f.store, second)).equals(data)).toBe(true)
    await prune(f.store, second.expiresAt)
    expect(await f.store.imageChunk(second, 0)).toBeNull()
  })

  test('the upload of a waiting or running job is not pruned; once the job has ended, it is', async () => {
    await using f = await fixture(open)
    const upload = await keepOrThrow(f.store, fullScope(f.app), png())
    const job = await addPrediction(f.store, f.app, T, {
      uploadId: upload.id,
      input: { ...INPUT, imageUrl: '/uploads/x' },
    })
    expect(await prune(f.store, upload.expiresAt + HOUR)).toBe(0)
    expect(await f.store.imageByUploadId(upload.id, upload.expiresAt + HOUR)).toMatchObject({
      hash: upload.hash,
    })
    await verifyAllImages(f.store, T)
    await submitAll(f.store, T)
    expect(await prune(f.store, upload.expiresAt + HOUR)).toBe(0)
    await f.store.change(job.id, canceled(T), T)
    expect(await prune(f.store, upload.expiresAt + HOUR)).toBeGreaterThan(0)
    expect(await f.store.imageByUploadId(upload.id, T)).toBeNull()
  })

  test('an image that is uploaded again while its bytes are being deleted is complete again', async () => {
    await using f = await fixture(open)
    const data = png(5_000_000)
    const first = await keepOrThrow(f.store, fullScope(f.app), data)
    const at = first.expiresAt
    for (let step = 0; step < 3; step++) await f.store.pruneUploads(at)
    const again = await keepOrThrow(f.store, fullScope(f.app), data, GIB, at)
    expect(await prune(f.store, at)).toBe(0)
    expect(again.id).not.toBe(first.id)
    expect((await bytesOf(f.store, again)).equals(data)).toBe(true)
  })

  test('an upload that a crash interrupted does not exist, and its bytes are deleted an hour later', async () => {
    await using f = await fixture(open)
    const upload = newUpload(fullScope(f.app), png(5_000_000))
    const { image, data } = upload
    const crash = new Error('a crash')
    const subarray = (from: number, to: number) => {
      if (from > 2_000_000) throw crash
      return data.subarray(from, to)
    }
    const cut = { length: data.length, subarray } as Buffer
    await expect(f.store.saveUpload({ ...upload, data: cut }, 6_000_000, T)).rejects.toBe(crash)
    expect(await f.store.imageChunk(image, 0)).not.toBeNull()
    const next = () => keepUpload(f.store, fullScope(f.app), png(2_000_000), 6_000_000)
    expect((await next()).kind).toBe('refused')
    expect(await prune(f.store, T + HOUR - 1)).toBe(0)
    expect(await prune(f.store, T + HOUR)).toBeGreaterThan(1)
    expect(await f.store.imageChunk(image, 0)).toBeNull()
    expect((await next()).kind).toBe('kept')
  })

  test('the upstream URL of an image is known until upstream may have deleted it', async () => {
    await using f = await fixture(open)
    const { id, ...upload } = await keepOrThrow(f.store, fullScope(f.app), png())
    expect((await f.store.imageByUploadId(id, T))?.upstreamUrl).toBeNull()
    await f.store.setUpstreamUrl(upload, 'https://files.example/1', T + HOUR)
    expect((await f.store.imageByUploadId(id, T + HOUR - 1))?.upstreamUrl).toBe('https://files.example/1')
    expect((await f.store.imageByUploadId(id, T + HOUR))?.upstreamUrl).toBeNull()
    expect(await f.store.imageByUploadId('nothing', T)).toBeNull()
  })
})
