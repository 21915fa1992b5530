import { defineConfig } from 'vitest/config'

export default defineConfig({
  // graphql 16 has two builds side by side; here, as under Node itself, everybody gets the same one.
  resolve: { alias: { graphql: 'graphql/index.js' } },
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/leaks.ts'],
    pool: 'forks',
    // Most of them wait more than they work.
    maxWorkers: 4,
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})
