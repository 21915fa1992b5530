/**
 * TypeScript as a browser takes it: Node takes its types away, as it does when it runs this very gateway.
 */
import { stripTypeScriptTypes } from 'node:module'

export function stripTypes(source: string): string {
  const { emitWarning } = process
  // Node calls this experimental, on stderr, at the first call; nobody who opens a page has to know.
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}
