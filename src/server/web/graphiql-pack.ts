/**
 * A process of its own: imports the package, sends everything the page needs, compressed, and ends.
 * Imported where the gateway runs, it would keep 50 MB for good; a thread gives back less than half of it.
 */
import { gzipSync } from 'node:zlib'
import {
  css,
  editorWorkerService,
  graphqlWorker,
  js,
  jsonWorker,
} from '@graphql-yoga/render-graphiql/graphiql'
import type { CompressedAssets } from './graphiql-assets.ts'

const assets: CompressedAssets = {
  'graphiql.js': gzipSync(js),
  'graphiql.css': gzipSync(css),
  // By the names that the editor has for them.
  'editorWorkerService.js': gzipSync(editorWorkerService),
  'graphql.js': gzipSync(graphqlWorker),
  'json.js': gzipSync(jsonWorker),
}

process.send?.(assets, () => process.disconnect())
