import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Failure, MUTATION_ERRORS, PREDICTION_ERRORS, REQUEST_ERRORS } from '../../src/domain/errors.ts'

const readme = readFileSync('README.md', 'utf8')

/** The cells of the table whose head begins with `first`, a row each. */
function table(first: string): string[][] {
  const lines = readme.slice(readme.indexOf(`| ${first} |`)).split('\n')
  const end = lines.findIndex(line => !line.startsWith('|'))
  return lines.slice(2, end).map(line =>
    line
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim()),
  )
}

test.each([
  ['`code`', MUTATION_ERRORS],
  ['`error.code`', PREDICTION_ERRORS],
  ['`extensions.code`', REQUEST_ERRORS],
])('the table of errors by %s is that of errors.ts', (head, failures: Record<string, Failure>) => {
  const rows = Object.entries(failures).map(([code, { message, retryable, remedy }]) => [
    `\`${code}\``,
    message,
    retryable ? 'yes' : 'no',
    remedy,
  ])
  expect(table(head)).toEqual(rows)
})

test('every link to a file leads to one', () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(match => match[1]!)
  expect(links.length).toBeGreaterThan(15)
  expect(links.filter(link => !existsSync(link))).toEqual([])
})

test('every npm script it names is there', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
  const named = [
    ...readme.matchAll(
      /npm (?:run )?(start|test|demo|app|check|ci|schema|migrations|simulator|bench|chaos|torture|fuzz)\b/g,
    ),
  ]
  expect(named.map(match => match[1]!).filter(name => name !== 'ci' && !(name in scripts))).toEqual([])
})
