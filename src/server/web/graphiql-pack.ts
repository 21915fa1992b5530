/**
 * A child process: imports the package, sends all assets of the page compressed, and ends. If the gateway
 * imported the package, it would keep 50 MB for good. A thread gives back less than half of that.
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
  // These names are the editor's.
  'editorWorkerService.js': gzipSync(editorWorkerService),
  'graphql.js': gzipSync(graphqlWorker),
  'json.js': gzipSync(jsonWorker),
}

process.send?.(assets, () => process.disconnect())
