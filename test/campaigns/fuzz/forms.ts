/**
 * Random forms, from an upload as a client sends it to noise between boundaries.
 */
import fc from 'fast-check'
import {
  BOUNDARY,
  FORM_TYPE,
  formOf,
  JPEG,
  OPERATIONS,
  type Part,
  partsOf,
  UPLOAD,
} from '../../support/upload.ts'
import type { Talk } from './arena.ts'
import { cut, damages, ENDINGS, type Sources } from './http.ts'

const NAMES = [
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
const FILES = [
  JPEG,
  JPEG.subarray(0, 100),
  Buffer.alloc(0),
  Buffer.from('<svg onload="x()"/>'),
  Buffer.from(`\r\n--${BOUNDARY}`),
]

const json = (of: fc.Arbitrary<unknown>) => of.map(value => JSON.stringify(value) ?? '')

const operations = ({ operations: drawn }: Sources): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(OPERATIONS) },
    { weight: 2, arbitrary: json(drawn) },
    {
      weight: 2,
      arbitrary: json(
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
    arbitrary: json(
      fc.dictionary(fc.constantFrom(...NAMES), fc.array(fc.constantFrom(...PATHS), { maxLength: 3 }), {
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
    name: fc.constantFrom(...NAMES),
    body: fc.oneof(fc.constantFrom(...FILES), fc.string()),
    filename: fc.option(fc.constantFrom('a.jpg', '', '../x', 'ü', '"'), { nil: undefined }),
    type: fc.option(fc.constantFrom('image/jpeg', 'text/html', 'a/b;c', ''), { nil: undefined }),
  })
  .map(({ filename, type, ...rest }) => ({
    ...rest,
    ...(filename !== undefined && { filename }),
    ...(type !== undefined && { type }),
  }))

const parts = (sources: Sources): fc.Arbitrary<Part[]> =>
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .record({
          operations: operations(sources),
          map: maps,
          file: fc.constantFrom(...FILES),
          more: fc.array(part, { maxLength: 2 }),
        })
        .map(({ operations: text, map, file, more }) => {
          const [first, second, third] = partsOf(file) as [Part, Part, Part]
          return [{ ...first, body: text }, { ...second, body: map }, third, ...more]
        }),
    },
    { weight: 2, arbitrary: fc.array(part, { maxLength: 5 }) },
    { weight: 1, arbitrary: fc.constant(partsOf(JPEG)).chain(some => fc.shuffledSubarray(some)) },
  )

const TYPES = [
  ...Array.from({ length: 8 }, () => FORM_TYPE),
  'multipart/form-data',
  'multipart/form-data; boundary=',
  `multipart/form-data; boundary="${BOUNDARY}"; charset=utf-8`,
  `multipart/mixed; boundary=${BOUNDARY}`,
]

/** A form on a connection of its own, in pieces. */
export const formTalks = (sources: Sources): fc.Arbitrary<Talk> =>
  fc
    .record({
      parts: parts(sources),
      bearer: fc.constantFrom(...sources.bearers),
      type: fc.constantFrom(...TYPES),
      accept: fc.constantFrom('application/json', 'text/event-stream', '*/*'),
      length: fc.constantFrom(0, 0, 0, -20, 20),
      damage: damages,
      cuts: fc.array(fc.nat(), { maxLength: 4 }),
      ending: fc.constantFrom(...ENDINGS),
    })
    .map(({ parts: some, bearer, type, accept, length, damage, cuts, ending }) => {
      const body = damaged(formOf(some), damage)
      const head = [
        'POST /graphql HTTP/1.1',
        'Host: 127.0.0.1',
        `Authorization: Bearer ${bearer}`,
        `Content-Type: ${type}`,
        `Accept: ${accept}`,
        `Content-Length: ${Math.max(0, body.length + length)}`,
      ]
      return { pieces: cut(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]), cuts), ending }
    })

/** Of the body alone: the head is http.ts's. */
function damaged(body: Buffer, damage: readonly (readonly [number, number, string])[]): Buffer {
  let bytes = body
  for (const [at, gone, put] of damage) {
    const i = at % (bytes.length || 1)
    bytes = Buffer.concat([bytes.subarray(0, i), Buffer.from(put, 'latin1'), bytes.subarray(i + gone)])
  }
  return bytes
}
