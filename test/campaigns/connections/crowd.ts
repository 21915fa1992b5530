/**
 * Who watches: clients over both transports, of two apps, some with a filter, some there from the start and some late.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import { createDiary, type Diary } from './diary.ts'
import { watchOverSse } from './over-sse.ts'
import { watchOverWebSocket } from './over-websocket.ts'
import { type Filter, feedDocument, type Watcher } from './watcher.ts'

export interface Member extends Watcher {
  app: App
  filter: Filter
  diary: Diary
}

export interface Crowd extends AsyncDisposable {
  readonly members: readonly Member[]
  /** How often one of them came back. */
  readonly reconnects: number
  /** Events, all clients' together; and how many of them came live. */
  readonly told: number
  readonly live: number
  /** @param after the cursor it begins behind; without one it begins at the log's head */
  join(over: Transport, app: App, after?: string): Member
}

const TRANSPORTS = { WebSocket: watchOverWebSocket, SSE: watchOverSse }
export type Transport = keyof typeof TRANSPORTS

/** Dealt in turn; an app's first has none. */
const FILTERS: readonly Filter[] = [{}, { statuses: ['CREATED', 'COMPLETED'] }, {}, { tags: ['red'] }]
/** One in so many of those from the start asks for more than its socket holds. */
const FAT_EVERY = 5

export function createCrowd(url: string, random: Random): Crowd {
  const members: Member[] = []
  const sum = (count: (diary: Diary) => number) =>
    members.reduce((total, { diary }) => total + count(diary), 0)

  return {
    members,
    get reconnects() {
      return sum(diary => Math.max(0, diary.connections - 1))
    },
    get told() {
      return sum(diary => diary.told.length)
    },
    get live() {
      return sum(diary => diary.live)
    },

    join(over, app, after) {
      const filter = FILTERS[members.filter(member => member.app === app).length % FILTERS.length]!
      const isFat = after === undefined && members.length % FAT_EVERY === 0
      const name = `client ${members.length + 1} (${over}, ${app.name}, ${JSON.stringify(filter)})`
      const diary = createDiary(name)
      const watcher = TRANSPORTS[over]({
        url,
        key: app.key,
        document: feedDocument(isFat),
        variables: { filter, ...(after !== undefined && { after }) },
        diary,
        random: random.fork(name),
      })
      const member = { ...watcher, app, filter, diary }
      members.push(member)
      return member
    },

    async [Symbol.asyncDispose]() {
      await Promise.all(members.map(member => member.close()))
    },
  }
}
