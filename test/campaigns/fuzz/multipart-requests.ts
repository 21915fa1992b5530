/**
 * Random multipart requests, from a valid upload to noise between boundaries.
 */
import fc from 'fast-check'
import {
  BOUNDARY,
  FORM_TYPE,
  JPEG,
  multipartForm,
  OPERATIONS,
  type Part,
  UPLOAD,
  uploadParts,
} from '../../support/upload.ts'
import { byteEdits, ENDINGS, type RequestSources, splitAt } from './http-requests.ts'
import type { RawExchange } from './scenario.ts'

const PART_NAMES = [
  '0',
  '0',
  'operations',
  'map',
  '1',
  '',
  '__proto__',
  'a"; filename="b',
  'x'.repeat(200),
  'ü\u0000',
]
const PATHS = [
  'variables.file',
  'variables.file',
  'variables.file',
  'variables',
  'query',
  '',
  '.',
  'variables.__proto__.x',
  'variables.file.constructor.prototype',
  'variables.0.1',
  '0.variables.file',
  'extensions.x',
]
const FILE_BODIES = [
  JPEG,
  JPEG.subarray(0, 100),
  Buffer.alloc(0),
  Buffer.from('<svg onload="x()"/>'),
  Buffer.from(`\r\n--${BOUNDARY}`),
]

const asJson = (values: fc.Arbitrary<unknown>) => values.map(value => JSON.stringify(value) ?? '')

const operations = ({ operations: drawn }: RequestSources): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(OPERATIONS) },
    { weight: 2, arbitrary: asJson(drawn) },
    {
      weight: 2,
      arbitrary: asJson(
        fc.record(
          {
            query: fc.constantFrom(UPLOAD, '{__typename}', ''),
            variables: fc.jsonValue(),
            operationName: fc.jsonValue(),
          },
          { requiredKeys: [] },
        ),
      ),
    },
    { weight: 1, arbitrary: fc.json() },
    { weight: 1, arbitrary: fc.string() },
  )

const maps: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 6,
    arbitrary: asJson(
      fc.dictionary(fc.constantFrom(...PART_NAMES), fc.array(fc.constantFrom(...PATHS), { maxLength: 3 }), {
        maxKeys: 3,
      }),
    ),
  },
  { weight: 4, arbitrary: fc.constant('{"0":["variables.file"]}') },
  { weight: 2, arbitrary: fc.json() },
  { weight: 1, arbitrary: fc.string() },
)

const part: fc.Arbitrary<Part> = fc
  .record({
    name: fc.constantFrom(...PART_NAMES),
    body: fc.oneof(fc.constantFrom(...FILE_BODIES), fc.string()),
    filename: fc.option(fc.constantFrom('a.jpg', '', '../x', 'ü', '"'), { nil: undefined }),
    type: fc.option(fc.constantFrom('image/jpeg', 'text/html', 'a/b;c', ''), { nil: undefined }),
  })
  .map(({ filename, type, ...rest }) => ({
    ...rest,
    ...(filename !== undefined && { filename }),
    ...(type !== undefined && { type }),
  }))

const parts = (sources: RequestSources): fc.Arbitrary<Part[]> =>
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .record({
          operations: operations(sources),
          map: maps,
          file: fc.constantFrom(...FILE_BODIES),
          more: fc.array(part, { maxLength: 2 }),
        })
        .map(({ operations: text, map, file, more }) => {
          const [first, second, third] = uploadParts(file) as [Part, Part, Part]
          return [{ ...first, body: text }, { ...second, body: map }, third, ...more]
        }),
    },
    { weight: 2, arbitrary: fc.array(part, { maxLength: 5 }) },
    { weight: 1, arbitrary: fc.constant(uploadParts(JPEG)).chain(some => fc.shuffledSubarray(some)) },
  )

const CONTENT_TYPES = [
  ...Array.from({ length: 8 }, () => FORM_TYPE),
  'multipart/form-data',
  'multipart/form-data; boundary=',
  `multipart/form-data; boundary="${BOUNDARY}"; charset=utf-8`,
  `multipart/mixed; boundary=${BOUNDARY}`,
]

/** A multipart request on its own connection, in chunks. */
export const multipartExchanges = (sources: RequestSources): fc.Arbitrary<RawExchange> =>
  fc
    .record({
      parts: parts(sources),
      bearer: fc.constantFrom(...sources.bearers),
      type: fc.constantFrom(...CONTENT_TYPES),
      accept: fc.constantFrom('application/json', 'text/event-stream', '*/*'),
      length: fc.constantFrom(0, 0, 0, -20, 20),
      damage: byteEdits,
      cuts: fc.array(fc.nat(), { maxLength: 4 }),
      ending: fc.constantFrom(...ENDINGS),
    })
    .map(({ parts: drawnParts, bearer, type, accept, length, damage, cuts, ending }) => {
      const body = applyEdits(multipartForm(drawnParts), damage)
      const head = [
        'POST /graphql HTTP/1.1',
        'Host: 127.0.0.1',
        `Authorization: Bearer ${bearer}`,
        `Content-Type: ${type}`,
        `Accept: ${accept}`,
        `Content-Length: ${Math.max(0, body.length + length)}`,
      ]
      return {
        chunks: splitAt(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]), cuts),
        ending,
      }
    })

/** Edits only the body; http-requests.ts edits heads. */
function applyEdits(body: Buffer, edits: readonly (readonly [number, number, string])[]): Buffer {
  let bytes = body
  for (const [at, deletedCount, inserted] of edits) {
    const i = at % (bytes.length || 1)
    bytes = Buffer.concat([
      bytes.subarray(0, i),
      Buffer.from(inserted, 'latin1'),
      bytes.subarray(i + deletedCount),
    ])
  }
  return bytes
}
