/**
 * Resumes a feed after a reconnect. A graphql-ws client sends a subscription's original variables again at each reconnect;
 * this wrapper puts the cursor of the last received item into them, so the feed continues right after that item.
 * Invariant: `after` changes only after the sink has received an item, and to that item's cursor.
 * This file imports nothing: copy it as it is.
 */
export interface SubscribePayload {
  query: string
  operationName?: string | null | undefined
  variables?: Record<string, unknown> | null | undefined
}

export interface Sink {
  next(result: unknown): void
  error(error: unknown): void
  complete(): void
}

/** The interface that the clients of graphql-ws and graphql-sse share. */
export interface SubscriptionClient {
  subscribe(payload: SubscribePayload, sink: Sink): () => void
  iterate?: unknown
}

/**
 * Works for documents whose feed takes `after: $after` and selects `cursor`. Other operations pass through unchanged.
 * Removes `iterate`, which bypasses `subscribe` and would start at the original cursor again.
 */
export function resumable<Client extends SubscriptionClient>(client: Client): Omit<Client, 'iterate'> {
  const { iterate: _, ...rest } = client
  return Object.assign(rest, {
    subscribe(payload: SubscribePayload, sink: Sink) {
      const variables = { ...payload.variables }
      const advance = (result: unknown) => {
        sink.next(result)
        const { data } = result as { data?: Record<string, { cursor?: unknown } | null> | null }
        const cursor = Object.values(data ?? {})[0]?.cursor
        if (typeof cursor === 'string') variables.after = cursor
      }
      return client.subscribe(
        { ...payload, variables },
        { next: advance, error: error => sink.error(error), complete: () => sink.complete() },
      )
    },
  })
}
