import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Record<string, { gypfile?: boolean; resolved?: string }>
}

test('npm ci needs no compiler, with npm 10 too', () => {
  const buildable = globSync('node_modules/{*,@*/*}/binding.gyp').map(file =>
    file.replace('/binding.gyp', ''),
  )
  expect(buildable).toContain('node_modules/better-sqlite3')
  // npm 10 reads only a package's entry here. Without `gypfile: false` it runs node-gyp, even if there is a binary.
  // `npm install` removes the field; restore it by hand.
  const compiled = buildable.filter(path => packages[path]?.gypfile !== false)
  expect(compiled, 'lack "gypfile": false in package-lock.json').toEqual([])
})

test('the lock file names no registry', () => {
  expect(Object.entries(packages).filter(([, { resolved }]) => resolved !== undefined)).toEqual([])
})

test('CI also runs the oldest Node that package.json allows, and a newer one than its own', () => {
  const { engines, dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  const versions = /^versions=\((.*)\)$/m.exec(readFileSync('.ci/other-nodes', 'utf8'))![1]!.split(' ')
  expect(versions[0]).toBe(engines.node.replace('>=', ''))
  expect(Number.parseInt(versions.at(-1)!, 10)).toBeGreaterThan(Number.parseInt(dependencies.node, 10))
  expect(readFileSync('.ci/run', 'utf8')).toContain('.ci/other-nodes')
})
