import { defineConfig } from 'vitest/config'

const BROWSER = 'test/browser/*.test.ts'

export default defineConfig({
  // graphql 16 has two builds. Every module gets the same one, as under Node itself.
  resolve: { alias: { graphql: 'graphql/index.js' } },
  test: {
    setupFiles: ['test/support/leaks.ts', 'test/support/disposable-stack.ts'],
    globalSetup: ['test/support/browser.ts'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'gateway',
          include: ['test/**/*.test.ts'],
          exclude: [BROWSER],
          // Most of these tests wait more than they compute.
          maxWorkers: 4,
          sequence: { groupOrder: 0 },
        },
      },
      // A browser uses every processor, so no other test runs beside it.
      {
        extends: true,
        test: { name: 'browser', include: [BROWSER], maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
})
