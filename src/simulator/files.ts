/**
 * Serves the simulator's files to pages of any origin: the sample image, uploaded files, and a video for each completed job.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import sendFile from 'send'
import { send } from './fault.ts'
import { isCompleted, isKept } from './job.ts'
import type { Media } from './media.ts'
import type { SimulatorStore } from './simulator-store.ts'

const ASSETS = fileURLToPath(new URL('./assets', import.meta.url))
export const SAMPLE_IMAGE = '/files/sample.jpg'

export function createFiles(store: SimulatorStore, media: Pick<Media, 'fileAt'>, now: () => number) {
  function assetAt(path: string): string | null {
    if (path === SAMPLE_IMAGE) return 'sample.jpg'
    const id = /^\/files\/(\w+)\.mp4$/.exec(path)?.[1]
    const job = id === undefined ? null : store.get(id)
    return job !== null && isKept(job, now()) && isCompleted(job, now()) ? 'sample.mp4' : null
  }

  return {
    serve(request: IncomingMessage, response: ServerResponse, path: string): void {
      response.setHeader('access-control-allow-origin', '*')
      const file = media.fileAt(path)
      if (file !== null) {
        response.writeHead(200, { 'content-type': file.headers['content-type'], 'content-length': file.size })
        return void response.end(file.data)
      }
      const asset = assetAt(path)
      if (asset !== null) sendFile(request, asset, { root: ASSETS }).pipe(response)
      else send(response, { status: 404, body: { code: 404, message: 'not found', data: null } })
    },
  }
}
