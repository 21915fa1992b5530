/**
 * Keeps a feed's cursor current. A graphql-ws client sends a subscription's first variables again at each reconnect; with
 * this around it they carry the cursor of the last item that came, so the feed goes on right behind it.
 * Invariant: `after` moves once the sink has an item, and to that item's cursor. Imports nothing: copy it as it is.
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

/** What subscribes as the clients of graphql-ws and graphql-sse do. */
export interface SubscriptionClient {
  subscribe(payload: SubscribePayload, sink: Sink): () => void
  iterate?: unknown
}

/**
 * For documents whose feed takes `after: $after` and selects `cursor`; every other operation passes as it is.
 * Takes `iterate` away: it goes past `subscribe`, and would begin at the first cursor again.
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
