import { globSync } from 'node:fs'
import { expect, test } from 'vitest'
import { childrenOf, nodesIn, parseFile, parseSource, type SyntaxNode } from '../support/syntax-tree.ts'

interface Name {
  name: string
  file: string
}

/** The text of a string is not an identifier. */
const identifiersIn = (node: SyntaxNode): string[] =>
  nodesIn(node)
    .filter(({ type }) => type === 'Identifier' || type === 'PrivateIdentifier')
    .map(({ name }) => name!)

/** Names that the module declares in `export` statements, each once. A re-export does not count. */
function exportsIn(module: SyntaxNode): string[] {
  const names = childrenOf(module).flatMap(statement => {
    if (statement.type !== 'ExportNamedDeclaration') return []
    const { declaration } = statement as SyntaxNode & { declaration: SyntaxNode | null }
    return declaration === null ? [] : declaredNames(declaration)
  })
  return [...new Set(names)]
}

function declaredNames(declaration: SyntaxNode): string[] {
  const { declarations, id } = declaration as { declarations?: { id: SyntaxNode }[]; id?: SyntaxNode }
  return (declarations?.map(one => one.id) ?? [id!]).flatMap(boundNames)
}

function boundNames(pattern: SyntaxNode): string[] {
  if (pattern.type === 'Identifier') return [pattern.name!]
  const { properties } = pattern as { properties?: { value: SyntaxNode }[] }
  return properties!.map(property => property.value.name!)
}

const modules = globSync('src/**/*.{ts,js}').map(file => ({
  file,
  module: parseFile(file),
}))
const namesIn = (find: (module: SyntaxNode) => string[]): Name[] =>
  modules.flatMap(({ file, module }) => find(module).map(name => ({ name, file })))

const MOST_WORD =
  /(?<![A-Za-z])(most|least|longest)(?![a-z])|(?<![A-Z])(Most|Least|Longest)(?![a-z])|(?<![A-Z])(MOST|LEAST|LONGEST)(?![A-Z])/

test('no name is exported twice in src', () => {
  const exported = namesIn(exportsIn)
  expect(exported.length).toBeGreaterThan(700)
  const repeated = [...Map.groupBy(exported, ({ name }) => name)].filter(([, uses]) => uses.length > 1)
  expect(repeated.map(([name, uses]) => `${name}: ${uses.map(({ file }) => file).join(', ')}`)).toEqual([])
})

test('names in src say max and min, not most, least or longest', () => {
  const found = namesIn(identifiersIn).filter(({ name }) => MOST_WORD.test(name))
  expect(found.map(({ name, file }) => `${name} in ${file}`)).toEqual([])
})

test.each([
  'most',
  'mostJobs',
  'atMost',
  'atMostOnce',
  'MOST',
  'MOST_JOBS',
  'JOBS_LEAST',
  'longest',
  'xLongest2',
  'at_most',
])('%s is found in code, not in a comment or a string', name => {
  const identifiers = (source: string) => identifiersIn(parseSource(source))
  expect(identifiers(`const ${name} = 1`)).toEqual([name])
  expect(identifiers(`f({ ${name}: 1 })`)).toEqual(['f', name])
  expect(identifiers(`\`\${${name}}\``)).toEqual([name])
  expect(identifiers(`/** ${name} */ '${name}'; "${name}"; \`${name}\` // ${name}`)).toEqual([])
  expect(name).toMatch(MOST_WORD)
})

test.each(['almost', 'mostly', 'ALMOST', 'foremost'])('%s is a valid name', name => {
  expect(name).not.toMatch(MOST_WORD)
})

test('every kind of exported declaration is found, an overloaded function once', () => {
  const source = `
    export interface A { }
    export type B = 1
    export abstract class C { }
    export function d(a: 1): void
    export function d(a: 2): void
    export function d() { }
    export const e = 1, f = 2
    export const { g, h: i } = {}
    export enum J { }
    export { k } from './k.ts'
    const l = 1`
  const found = exportsIn(parseSource(source))
  expect(found).toEqual(['A', 'B', 'C', 'd', 'e', 'f', 'g', 'i', 'J'])
})
