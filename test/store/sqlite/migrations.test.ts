import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'

test('migrations/ is what schema.ts says (npm run migrations)', () => {
  const folder = mkdtempSync('node_modules/.migrations-')
  try {
    cpSync('src/store/sqlite/migrations', folder, { recursive: true })
    const before = readdirSync(folder)
    const out = `--out=${folder}`
    execFileSync('drizzle-kit', [
      'generate',
      '--dialect=sqlite',
      '--casing=snake_case',
      '--schema=src/store/sqlite/schema.ts',
      out,
    ])
    expect(readdirSync(folder)).toEqual(before)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
