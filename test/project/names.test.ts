import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const files = globSync('src/**/*.{ts,js}')
const sources = new Map(files.map(file => [file, withoutComments(readFileSync(file, 'utf8'))]))

/** A comment begins a line or follows a space; `//` in a URL and `*` in a media type do not. */
function withoutComments(source: string): string {
  return source.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/(^|\s)\/\/.*$/gm, '$1')
}

const matches = (pattern: RegExp): { name: string; file: string }[] =>
  [...sources].flatMap(([file, source]) =>
    [...source.matchAll(pattern)].map(match => ({ name: match[1]!, file })),
  )

test('no exported type or interface name stands twice in src', () => {
  const types = matches(/^export (?:abstract )?(?:interface|type|class) (\w+)/gm)
  expect(types.length).toBeGreaterThan(200)
  const repeated = [...Map.groupBy(types, ({ name }) => name)].filter(([, uses]) => uses.length > 1)
  expect(repeated.map(([name, uses]) => `${name}: ${uses.map(({ file }) => file).join(', ')}`)).toEqual([])
})

test('names in src say max and min, not most, least or longest', () => {
  const names = matches(/\b((?:most|least|longest)(?=[A-Z])\w*|(?:MOST|LEAST|LONGEST)_\w+)/g)
  expect(names.map(({ name, file }) => `${name} in ${file}`)).toEqual([])
})
