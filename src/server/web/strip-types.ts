/**
 * Strips the types from a TypeScript source for the browser, as Node does for this gateway.
 */
import { stripTypeScriptTypes } from 'node:module'

export function stripTypes(source: string): string {
  const { emitWarning } = process
  // `stripTypeScriptTypes` is experimental: its first call prints a warning, which operators can't act on.
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}
