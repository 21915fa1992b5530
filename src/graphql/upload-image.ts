/**
 * uploadImage and the type Upload: an image is identified by its bytes; its file name and declared type are
 * ignored.
 * Invariant: an upload is visible to the restriction under which it was uploaded and to callers with the full
 * scope of the app, and to no other caller.
 */
import { createHash } from 'node:crypto'
import { mayUpload } from '../domain/access-scope.ts'
import { MAX_IMAGE_BYTES, parseImageHeader } from '../domain/image-format.ts'
import { previewPath, type Upload, type UploadedImage } from '../domain/upload.ts'
import { builder, QUERY_COST, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import { type MutationErrorOf, mutationErrorTypes, resolveResultType } from './mutation-errors.ts'
import type { UploadFile } from './upload-file.ts'

const UploadType = builder.objectRef<Upload>('Upload')

builder.node(UploadType, {
  description: 'An image that was uploaded, for `image: { uploadId }`. The same bytes are the same upload.',
  id: { resolve: upload => upload.id },
  loadManyWithoutCache: async (ids, { scope, store, now, nextSlice }) => {
    await nextSlice(scope.appId)
    return store.getUploads(scope, ids, now())
  },
  fields: t => ({
    url: t.field({
      type: 'URL',
      description: 'For previews: whoever has it may look at the image.',
      complexity: QUERY_COST,
      resolve: ({ previewToken }, _args, { toPublicUrl }) => toPublicUrl(previewPath(previewToken)),
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
  types: [
    UploadImagePayload,
    mutationErrorTypes.INVALID_INPUT,
    mutationErrorTypes.RATE_LIMITED,
    mutationErrorTypes.FORBIDDEN,
  ],
  resolveType: resolveResultType(UploadImagePayload),
})

builder.mutationField('uploadImage', t =>
  t.field({
    type: UploadImageResult,
    description:
      'Keeps an image for seven days. By a GraphQL multipart request that has this field alone; the same image again is the same upload, kept longer.',
    complexity: WRITE_COST,
    args: { input: t.arg({ type: UploadImageInput, required: true }) },
    resolve: (_root, { input }, context) => context.countRejections(uploadImage(input.file, context)),
  }),
)

async function uploadImage(
  file: UploadFile,
  context: Context,
): Promise<{ upload: Upload } | MutationErrorOf<'INVALID_INPUT' | 'RATE_LIMITED' | 'FORBIDDEN'>> {
  const { scope, store, maxUploadBytesPerApp, now, nextSlice } = context
  if (!mayUpload(context.access)) return { code: 'FORBIDDEN' }
  const data = file.read()
  if (data === null) return invalid('expected at most 25 MB')
  // Hashing 25 MB takes 14 ms (measured).
  await nextSlice(scope.appId)
  const image = parseImage(data, scope.appId)
  if (typeof image === 'string') return invalid(image)
  if (image.bytes > maxUploadBytesPerApp)
    return invalid(`expected at most ${maxUploadBytesPerApp} bytes, what an app may keep`)
  const result = await store.saveUpload(
    { image, restrictionKey: scope.restrictionKey, data },
    maxUploadBytesPerApp,
    now(),
  )
  // Space is freed when other uploads expire, so the error is retryable.
  if (result.kind === 'refused') return { code: 'RATE_LIMITED', retryAfterMs: result.retryAfterMs }
  return { upload: result.upload }
}

/**
 * Some images have megabytes of metadata before their dimensions. Reading more would block the event loop (25
 * MB: 100 ms, measured).
 */
const MAX_HEAD_BYTES = 4 * 1024 * 1024
/** JPEG's maximum. Other formats may declare more than a GraphQL Int holds. */
const MAX_SIDE_PIXELS = 65_535

/** The image, or the message of what is wrong with it. */
function parseImage(data: Buffer, appId: UploadedImage['appId']): UploadedImage | string {
  if (data.length === 0) return 'expected a file that is not empty'
  if (data.length > MAX_IMAGE_BYTES) return 'expected at most 25 MB'
  const head = parseImageHeader(data.subarray(0, MAX_HEAD_BYTES))
  if (head === null) return 'expected a JPEG, PNG, WebP or BMP'
  const { type: contentType, width, height } = head
  if (width === null || height === null) return 'expected an image whose header has its width and height'
  if (Math.max(width, height) > MAX_SIDE_PIXELS) return `expected sides of at most ${MAX_SIDE_PIXELS} pixels`
  const hash = createHash('sha256').update(data).digest('hex')
  return { appId, hash, contentType, width, height, bytes: data.length }
}

const invalid = (message: string): MutationErrorOf<'INVALID_INPUT'> => ({
  code: 'INVALID_INPUT',
  issues: [{ path: ['input', 'file'], message }],
})
