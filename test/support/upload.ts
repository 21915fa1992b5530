/**
 * Uploads as Apollo's and urql's links send them, byte for byte: `operations`, `map`, then the file.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Harness, Result } from './gateway.ts'

export const JPEG = readFileSync('src/simulator/assets/sample.jpg')

/** A unique PNG of that many bytes. */
export function png(bytes = 1000, width = 640, height = 480): Buffer {
  const head = Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'latin1')
  const sides = Buffer.alloc(8)
  sides.writeUInt32BE(width, 0)
  sides.writeUInt32BE(height, 4)
  const beginning = Buffer.concat([head, sides, Buffer.from([8, 6, 0, 0, 0, 0, 0, 0, 0])])
  return Buffer.concat([beginning, randomBytes(Math.max(0, bytes - beginning.length))])
}

export const UPLOAD = `mutation ($file: File!) {
  uploadImage(input: { file: $file }) {
    __typename
    ... on UploadImagePayload { upload { id url contentType width height bytes expiresAt } }
    ... on InvalidInputError { issues { path message } }
    ... on RateLimitedError { retryAfterMs }
    ... on Error { code message retryable }
  }
}`
export const OPERATIONS = JSON.stringify({ query: UPLOAD, variables: { file: null } })
export const MAP = '{"0":["variables.file"]}'

export interface Part {
  name: string
  body: Buffer | string
  filename?: string
  type?: string
}

export const BOUNDARY = '----WebKitFormBoundaryQ5vN3pXyJ2'
export const FORM_TYPE = `multipart/form-data; boundary=${BOUNDARY}`

export const multipartForm = (parts: readonly Part[]): Buffer =>
  Buffer.concat([
    ...parts.flatMap(({ name, body, filename, type }) => [
      Buffer.from(
        `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${
          filename === undefined ? '' : `; filename="${filename}"`
        }\r\n${type === undefined ? '' : `Content-Type: ${type}\r\n`}\r\n`,
      ),
      Buffer.from(body),
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`--${BOUNDARY}--\r\n`),
  ])

export const filePart = (body: Buffer | string, name = '0'): Part => ({
  name,
  body,
  filename: 'cat.jpg',
  type: 'image/jpeg',
})
export const uploadParts = (file: Buffer | string): Part[] => [
  { name: 'operations', body: OPERATIONS },
  { name: 'map', body: MAP },
  filePart(file),
]

export const sendForm = (harness: Harness, body: Buffer | string, key = harness.key, headers: object = {}) =>
  harness.fetch('/graphql', {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': FORM_TYPE, ...headers },
    body,
  })

/** Returns the answer of uploadImage. */
export async function requestUpload(harness: Harness, file: Buffer | string = JPEG, key?: string) {
  const { data, errors } = (await (
    await sendForm(harness, multipartForm(uploadParts(file)), key)
  ).json()) as Result
  if (errors) throw new Error(JSON.stringify(errors))
  return data.uploadImage
}

/** Uploads the image and returns the upload. */
export async function uploadImage(harness: Harness, file: Buffer = JPEG, key?: string) {
  const answer = await requestUpload(harness, file, key)
  if (answer.upload === undefined) throw new Error(JSON.stringify(answer))
  return answer.upload
}
