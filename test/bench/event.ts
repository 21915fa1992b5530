/**
 * The subscription that every client uses, and events for servers without a log.
 * Invariant: events have equal length, and the second tag is the event's number.
 */
import { randomBytes, randomUUID } from 'node:crypto'

export const FEED_DOCUMENT = `subscription ($after: String) {
  predictionFeed(after: $after) {
    __typename
    ... on PredictionEvent { cursor type occurredAt prediction { id status tags updatedAt outputs { url } } }
    ... on FeedCaughtUp { cursor }
    ... on FeedGap { reason cursor }
  }
}`

export interface FeedEvent {
  __typename: 'PredictionEvent'
  cursor: string
  type: string
  occurredAt: string
  prediction: { id: string; status: string; tags: string[]; updatedAt: string; outputs: { url: string }[] }
}

export const numberTags = (number: number): string[] => ['bench', String(number).padStart(7, '0')]

export const eventNumber = ({ prediction }: FeedEvent): number => Number(prediction.tags[1])

export function createEvent(number: number): FeedEvent {
  const now = new Date().toISOString()
  return {
    __typename: 'PredictionEvent',
    cursor: randomBytes(16).toString('base64url'),
    type: 'QUEUED',
    occurredAt: now,
    prediction: {
      id: Buffer.from(`Prediction:${randomUUID()}`).toString('base64url'),
      status: 'QUEUED',
      tags: numberTags(number),
      updatedAt: now,
      outputs: [],
    },
  }
}
