/**
 * Whatever GraphiQL asks: an answer, or a subscription followed over any drop of its connection, by server-sent events.
 * Invariant: a feed goes on right behind the last event that came, and under the key it began with: a place in it is that app's.
 */
export interface Operation {
  query: string
  variables?: object
  operationName?: string | null
}
interface Definition {
  kind: string
  operation?: string
  name?: { value: string }
}
interface Sink {
  next(result: object): void
  error(error: unknown): void
  complete(): void
}

export interface WatchOptions {
  post(operation: Operation, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>
  /** The key is none, or none any more. */
  onBarred(): void
  onState(words: string): void
}

const RETRY_MS = 1000
const MOST_EARLIER = 20

export function createFetcher({ post, onBarred, onState }: WatchOptions) {
  async function answer(operation: Operation): Promise<unknown> {
    const response = await post(operation)
    if (response.status === 401) onBarred()
    return response.json()
  }

  async function follow(operation: Operation, sink: Sink, signal: AbortSignal): Promise<void> {
    const show = withEarlier(sink)
    let last = ''
    while (!signal.aborted) {
      let retryMs = RETRY_MS
      try {
        const more = { accept: 'text/event-stream', ...(last && { 'last-event-id': last }) }
        const response = await post(operation, more, signal)
        onState('')
        if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
          if (response.status === 401) onBarred()
          if (response.status !== 503) return show(await response.json())
        } else
          for await (const { event, id, data, retry } of eventsIn(response)) {
            if (id) last = id
            if (retry) retryMs = Number(retry)
            if (event === 'next') show(JSON.parse(data ?? ''))
            if (event === 'complete') return
          }
      } catch {
        // Cut: the connection, or by whoever watched.
      }
      if (signal.aborted) return
      onState('The connection is gone: trying again.')
      await new Promise(resolve => setTimeout(resolve, retryMs))
    }
  }

  return (operation: Operation, { documentAST }: { documentAST?: { definitions: Definition[] } } = {}) => {
    const operations = documentAST?.definitions.filter(({ kind }) => kind === 'OperationDefinition') ?? []
    const { operationName } = operation
    const asked = operationName ? operations.find(({ name }) => name?.value === operationName) : operations[0]
    if (asked?.operation !== 'subscription') return answer(operation)
    return {
      subscribe(sink: Sink) {
        const left = new AbortController()
        follow(operation, sink, left.signal).then(
          () => sink.complete(),
          error => sink.error(error),
        )
        return {
          unsubscribe() {
            onState('')
            left.abort()
          },
        }
      },
    }
  }
}

/** GraphiQL shows the newest result alone, and a video's way is worth seeing whole. */
function withEarlier(sink: Sink): (result: object) => void {
  const earlier: object[] = []
  return result => {
    sink.next(earlier.length === 0 ? result : { ...result, earlier })
    earlier.unshift(result)
    earlier.splice(MOST_EARLIER)
  }
}

async function* eventsIn(response: Response): AsyncGenerator<Record<string, string>> {
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
