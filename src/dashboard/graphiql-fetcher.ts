/**
 * GraphiQL's fetcher: executes operations over HTTP, and subscriptions over server-sent events with reconnects.
 * Invariant: after a reconnect a feed continues after the last received event, under the key it started with, because a
 * cursor is valid only for its app.
 */
export interface GraphiqlRequest {
  query: string
  variables?: object
  operationName?: string | null
}
interface Definition {
  kind: string
  operation?: string
  name?: { value: string }
}
interface ResultSink {
  next(result: object): void
  error(error: unknown): void
  complete(): void
}

export interface FetcherOptions {
  post(operation: GraphiqlRequest, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>
  /** Called when the key is invalid or was revoked. */
  onInvalidKey(): void
  onState(text: string): void
}

const RETRY_MS = 1000
const MAX_EARLIER_RESULTS = 20

export function createFetcher({ post, onInvalidKey, onState }: FetcherOptions) {
  async function execute(operation: GraphiqlRequest): Promise<unknown> {
    const response = await post(operation)
    if (response.status === 401) onInvalidKey()
    return response.json()
  }

  async function subscribeBySse(
    operation: GraphiqlRequest,
    sink: ResultSink,
    signal: AbortSignal,
  ): Promise<void> {
    const emit = emitWithEarlier(sink)
    let lastEventId = ''
    while (!signal.aborted) {
      let retryMs = RETRY_MS
      try {
        const headers = { accept: 'text/event-stream', ...(lastEventId && { 'last-event-id': lastEventId }) }
        const response = await post(operation, headers, signal)
        onState('')
        if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
          if (response.status === 401) onInvalidKey()
          if (response.status !== 503) return emit(await response.json())
        } else
          for await (const { event, id, data, retry } of parseEvents(response)) {
            if (id) lastEventId = id
            if (retry) retryMs = Number(retry)
            if (event === 'next') emit(JSON.parse(data ?? ''))
            if (event === 'complete') return
          }
      } catch {
        // The connection was lost, or the user stopped the subscription.
      }
      if (signal.aborted) return
      onState('The connection is gone: trying again.')
      await new Promise(resolve => setTimeout(resolve, retryMs))
    }
  }

  return (
    operation: GraphiqlRequest,
    { documentAST }: { documentAST?: { definitions: Definition[] } } = {},
  ) => {
    const operations = documentAST?.definitions.filter(({ kind }) => kind === 'OperationDefinition') ?? []
    const { operationName } = operation
    const selected = operationName
      ? operations.find(({ name }) => name?.value === operationName)
      : operations[0]
    if (selected?.operation !== 'subscription') return execute(operation)
    return {
      subscribe(sink: ResultSink) {
        const abortController = new AbortController()
        subscribeBySse(operation, sink, abortController.signal).then(
          () => sink.complete(),
          error => sink.error(error),
        )
        return {
          unsubscribe() {
            onState('')
            abortController.abort()
          },
        }
      },
    }
  }
}

/** Adds the earlier results as `earlier`, since GraphiQL shows only the newest result of a subscription. */
function emitWithEarlier(sink: ResultSink): (result: object) => void {
  const earlier: object[] = []
  return result => {
    sink.next(earlier.length === 0 ? result : { ...result, earlier })
    earlier.unshift(result)
    earlier.splice(MAX_EARLIER_RESULTS)
  }
}

async function* parseEvents(response: Response): AsyncGenerator<Record<string, string>> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const blocks = (rest + value).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks)
      yield Object.fromEntries(block.split('\n').map(line => line.split(/: ?(.*)/, 2) as [string, string]))
  }
}
