import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { childrenOf, nodesIn, parseFile, parseSource } from '../support/syntax-tree.ts'

const ROOT = 'src/gateway/gateway.ts'
const MAX_FUNCTION_LINES = 60
/** The root knows the builders of its parts, and nothing of what they build. */
const MAX_ROOT_IMPORTS = 20
const FUNCTION = /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/

/** The numbers of lines of all functions, also of those within others. */
const functionLengths = (source: string): number[] =>
  nodesIn(parseSource(source))
    .filter(({ type }) => FUNCTION.test(type))
    .map(({ start, end }) => source.slice(start, end).split('\n').length)

test('no function of the composition root has more than 60 lines', () => {
  const lengths = globSync('src/gateway/*.ts').flatMap(file =>
    functionLengths(readFileSync(file, 'utf8')).map(lines => ({ file, lines })),
  )
  expect(lengths.length).toBeGreaterThan(10)
  expect(lengths.filter(({ lines }) => lines > MAX_FUNCTION_LINES)).toEqual([])
})

test('the composition root imports at most 20 files', () => {
  const imports = childrenOf(parseFile(ROOT)).filter(({ type }) => type === 'ImportDeclaration')
  expect(imports.length).toBeGreaterThan(5)
  expect(imports.length).toBeLessThanOrEqual(MAX_ROOT_IMPORTS)
})

test.each([
  ['function a() {\n}', [2]],
  ['const a = async () =>\n  b(\n  )', [3]],
  ['const a = { b() {\n  return () => 1\n} }', [3, 1]],
  ['class A {\n  b() {\n  }\n}', [2]],
])('the functions of %j have %j lines', (source, lengths) => {
  expect(functionLengths(source)).toEqual(lengths)
})
