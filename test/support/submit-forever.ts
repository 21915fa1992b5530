/**
 * A process that submits without end, 32 at once, and prints the id of each created prediction. Its arguments: the
 * database, and the app.
 */
import { writeSync } from 'node:fs'
import type { AppId } from '../../src/domain/prediction.ts'
import { openStore } from '../../src/store/open-store.ts'
import { INPUT } from './input.ts'

const [file, app] = process.argv.slice(2) as [string, AppId]
const store = await openStore(`file:${file}`, () => {})
const draft = {
  appId: app,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: INPUT,
  tags: [],
  metadata: null,
  retryOf: null,
  uploadId: null,
  restrictionKey: '',
  tokenId: null,
  cost: 1,
} as const

async function submit(): Promise<never> {
  for (;;) {
    const creation = await store.create({ ...draft, tags: [] }, null, Date.now())
    if (creation.kind === 'created') writeSync(1, `${creation.prediction.id}\n`)
  }
}
await Promise.all(Array.from({ length: 32 }, submit))
