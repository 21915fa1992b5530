/**
 * uploadImage, and what it makes: an image by its bytes, whatever its file is called and said to be.
 * Invariant: whoever uploads sees its upload, and so does all of its app that sees everything; nobody else.
 */
import { createHash } from 'node:crypto'
import { mayUpload, spaceOf } from '../domain/access-scope.ts'
import { MOST_IMAGE_BYTES, readImage } from '../domain/image-format.ts'
import { type Image, type Upload, uploadPath } from '../domain/upload.ts'
import { builder, QUERY_COST, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import { type RefusalOf, refusals } from './mutation-errors.ts'
import type { FormFile } from './upload-file.ts'

const UploadType = builder.objectRef<Upload>('Upload')

builder.node(UploadType, {
  description: 'An image that was uploaded, for `image: { uploadId }`. The same bytes are the same upload.',
  id: { resolve: upload => upload.id },
  isTypeOf: value => typeof value === 'object' && value !== null && 'address' in value,
  loadManyWithoutCache: async (ids, { scope, store, now, turn }) => {
    await turn(scope.appId)
    return store.uploads(scope, ids, now())
  },
  fields: t => ({
    url: t.field({
      type: 'URL',
      description: 'For previews: whoever has it may look at the image.',
      complexity: QUERY_COST,
      resolve: ({ address }, _args, { urlOf }) => urlOf(uploadPath(address)),
    }),
    contentType: t.exposeString('contentType', { description: 'By its bytes.' }),
    width: t.exposeInt('width', { description: 'Pixels as they are stored, before any rotation.' }),
    height: t.exposeInt('height'),
    bytes: t.exposeInt('bytes'),
    expiresAt: t.expose('expiresAt', {
      type: 'DateTime',
      description:
        'Seven days after it was last uploaded. A job that was submitted with it keeps it as long as it waits.',
    }),
  }),
})

const UploadImageInput = builder.inputType('UploadImageInput', {
  fields: t => ({
    file: t.field({
      type: 'File',
      required: true,
      description: 'A JPEG, PNG, WebP or BMP of at most 25 MB. Its name and declared type are not looked at.',
    }),
  }),
})

const UploadImagePayload = builder.objectRef<{ upload: Upload }>('UploadImagePayload').implement({
  fields: t => ({ upload: t.expose('upload', { type: UploadType }) }),
})

const UploadImageResult = builder.unionType('UploadImageResult', {
  types: [UploadImagePayload, refusals.INVALID_INPUT, refusals.RATE_LIMITED, refusals.FORBIDDEN],
  resolveType: result => ('code' in result ? refusals[result.code] : UploadImagePayload),
})

builder.mutationField('uploadImage', t =>
  t.field({
    type: UploadImageResult,
    description:
      'Keeps an image for seven days. By a GraphQL multipart request that has this field alone; the same image again is the same upload, kept longer.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: UploadImageInput, required: true }) },
    resolve: (_root, { input }, context) => context.told(uploadImage(input.file, context)),
  }),
)

async function uploadImage(
  file: FormFile,
  context: Context,
): Promise<{ upload: Upload } | RefusalOf<'INVALID_INPUT' | 'RATE_LIMITED' | 'FORBIDDEN'>> {
  const { scope, store, mostUploadBytes, now, turn } = context
  if (!mayUpload(context.access)) return { code: 'FORBIDDEN' }
  const data = file.read()
  if (data === null) return invalid('expected at most 25 MB')
  // To hash 25 MB takes 14 ms (measured).
  await turn(scope.appId)
  const image = imageIn(data, scope.appId)
  if (typeof image === 'string') return invalid(image)
  if (image.bytes > mostUploadBytes)
    return invalid(`expected at most ${mostUploadBytes} bytes, what an app may keep`)
  const keeping = await store.keepUpload({ image, space: spaceOf(scope), data }, mostUploadBytes, now())
  // What expires makes room: it is a matter of time.
  if (keeping.kind === 'refused') return { code: 'RATE_LIMITED', retryAfterMs: keeping.retryAfterMs }
  return { upload: keeping.upload }
}

/** Some have megabytes of other things before their sides; more would hold up everybody (25 MB: 100 ms, measured). */
const HEAD_BYTES = 4 * 1024 * 1024
/** A JPEG's most. Others may say more than an Int can hold. */
const MOST_SIDE = 65_535

/** Or what is wrong with it. */
function imageIn(data: Buffer, appId: Image['appId']): Image | string {
  if (data.length === 0) return 'expected a file that is not empty'
  if (data.length > MOST_IMAGE_BYTES) return 'expected at most 25 MB'
  const head = readImage(data.subarray(0, HEAD_BYTES))
  if (head === null) return 'expected a JPEG, PNG, WebP or BMP'
  const { type: contentType, width, height } = head
  if (width === null || height === null) return 'expected an image that says its width and height'
  if (Math.max(width, height) > MOST_SIDE) return `expected sides of at most ${MOST_SIDE} pixels`
  const hash = createHash('sha256').update(data).digest('hex')
  return { appId, hash, contentType, width, height, bytes: data.length }
}

const invalid = (message: string): RefusalOf<'INVALID_INPUT'> => ({
  code: 'INVALID_INPUT',
  issues: [{ path: ['input', 'file'], message }],
})
