import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { type Failure, MUTATION_ERRORS, PREDICTION_ERRORS, REQUEST_ERRORS } from '../../src/domain/errors.ts'
import { isLegalTransition, STATUSES } from '../../src/domain/prediction.ts'

const readme = readFileSync('README.md', 'utf8')
const pages = ['README.md', 'CHANGELOG.md', ...globSync('docs/**/*.md')]

/** Returns the cells of each row of the README's table whose first heading is `first`. */
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

interface Link {
  target: string
  file: string
  anchor: string | undefined
}

/** The links of a page to files and headings of this repository; paths are from its root. */
function localLinks(page: string): Link[] {
  const text = withoutCodeBlocks(readFileSync(page, 'utf8'))
  return [...text.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(match => {
    const [path = '', anchor] = match[1]!.split('#')
    return { target: match[1]!, file: path === '' ? page : join(dirname(page), path), anchor }
  })
}

const withoutCodeBlocks = (markdown: string) => markdown.replace(/^```.*?^```$/gms, '')

/** The anchors that GitHub gives the headings of a page. */
const anchorsOf = (page: string): string[] =>
  [...withoutCodeBlocks(readFileSync(page, 'utf8')).matchAll(/^#+ (.+)$/gm)].map(match =>
    match[1]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

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

test.each(pages)('every link of %s leads to a file or a heading of this repository', page => {
  const links = localLinks(page)
  expect(links.length).toBeGreaterThan(0)
  const broken = links.filter(
    ({ file, anchor }) => !existsSync(file) || (anchor !== undefined && !anchorsOf(file).includes(anchor)),
  )
  expect(broken.map(({ target }) => target)).toEqual([])
})

test('each term of the glossary stands there once, with a link to its file', () => {
  const rows = [...readFileSync('docs/glossary.md', 'utf8').matchAll(/^\| (?!term |---)(.+) \|$/gm)].map(
    match => match[1]!.split(' | '),
  )
  expect(rows.length).toBeGreaterThan(60)
  const terms = rows.map(([term]) => term)
  expect(terms.filter((term, i) => terms.indexOf(term) !== i)).toEqual([])
  const incomplete = rows.filter(
    cells => cells.length !== 3 || !/^\[[^\]]+\]\(\.\.\/(src|test)\/[^)]+\)$/.test(cells[2]!),
  )
  expect(incomplete).toEqual([])
})

test('the state diagram has exactly the legal transitions', () => {
  const diagram = /^```mermaid$(.*?)^```$/ms.exec(readFileSync('docs/architecture.md', 'utf8'))![1]!
  const drawn = [...diagram.matchAll(/(\w+) --> (\w+)(: correction)?/g)].map(match => match[0])
  const pairs = STATUSES.flatMap(from => STATUSES.map(to => ({ from, to })))
  const legal = pairs.flatMap(({ from, to }) => {
    if (isLegalTransition(from, to)) return [`${from} --> ${to}`]
    const isCorrection = from !== to && isLegalTransition(from, to, 'SUBMISSION_UNKNOWN')
    return isCorrection ? [`${from} --> ${to}: correction`] : []
  })
  expect(drawn.toSorted()).toEqual(legal.toSorted())
})

test('every npm script that the README names exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
  const named = [
    ...readme.matchAll(
      /npm (?:run )?(start|test|demo|app|check|ci|schema|migrations|simulator|bench|chaos|torture|fuzz)\b/g,
    ),
  ]
  expect(named.map(match => match[1]!).filter(name => name !== 'ci' && !(name in scripts))).toEqual([])
})
