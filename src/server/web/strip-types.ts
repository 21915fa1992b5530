/**
 * Strips the types from a TypeScript source for the browser, as Node does for this gateway.
 */
import { stripTypeScriptTypes } from 'node:module'

export function stripTypes(source: string): string {
  const { emitWarning } = process
  // At the first call Node warns on stderr that this is experimental. The warning is suppressed.
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}
