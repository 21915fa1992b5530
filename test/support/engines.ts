/**
 * The engines over which the suites of the store run.
 */
import { SQLITE } from '../store/sqlite/engine.ts'
import type { Engine } from './engine.ts'

/** A second engine is one more line. */
export const ENGINES: readonly (readonly [name: string, engine: Engine])[] = [['SQLite', SQLITE]]
