import { describe, expect, test } from 'vitest'
import { findDatabaseUrlFault, locateDatabase } from '../../src/domain/database-url.ts'
import { StartupError } from '../../src/domain/errors.ts'

test.each([
  ['file:data/rushes.db', 'data/rushes.db'],
  ['file:./a b.db', './a b.db'],
  ['file:/abs/rushes.db', '/abs/rushes.db'],
  ['file:///abs/rushes.db', '/abs/rushes.db'],
  ['file::memory:', ':memory:'],
])('%s is the SQLite file %s', (url, file) => {
  expect(locateDatabase(url)).toEqual({ engine: 'SQLite', file })
})

describe.each([
  'data/rushes.db',
  'file:',
  'file://host/rushes.db',
  'mysql://u:s3cret@localhost/rushes',
  'postgres://u:s3cret@localhost/rushes',
  'postgresql://localhost/rushes',
])('%s names no engine', url => {
  test('and the fault says which URLs do, without a password', () => {
    const fault = findDatabaseUrlFault(url)!
    expect(fault).toContain('file:PATH')
    expect(fault).not.toContain('s3cret')
    expect(() => locateDatabase(url)).toThrow(new StartupError(`DATABASE_URL: ${fault}.`))
  })
})
