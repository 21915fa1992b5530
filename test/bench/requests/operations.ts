/**
 * The operations that every server is sent, in a client's form, and a text that the answer must contain.
 * Invariant: no two submits are the same.
 */
export type BenchOperation =
  | { name: 'Read'; ids: readonly string[] }
  /** Null: the first page. */
  | { name: 'Page'; cursors: readonly (string | null)[] }
  | { name: 'Submit'; imageUrl: string }

export interface PreparedRequest {
  body: string
  /** Part of every correct answer, and of no other. */
  expectedText: string
}

const FIELDS = 'id status model createdAt updatedAt tags cost { amount currency } outputs { url }'

export const DOCUMENTS = {
  Read: `query Read($id: ID!) { prediction(id: $id) { ${FIELDS} } }`,
  Page: `query Page($first: Int, $after: String) {
    predictions(first: $first, after: $after) { edges { cursor node { ${FIELDS} } } pageInfo { hasNextPage endCursor } }
  }`,
  Submit: `mutation Submit($input: SubmitVideoInput!) {
    submitVideo(input: $input) {
      ... on SubmitVideoPayload { prediction { id status } }
      ... on Error { code message }
    }
  }`,
} as const
export type OperationName = keyof typeof DOCUMENTS

export const PAGE_SIZE = 20

/** Builds the `n`th request. */
export function prepareRequest(operation: BenchOperation, n: number): PreparedRequest {
  switch (operation.name) {
    case 'Read': {
      const id = operation.ids[n % operation.ids.length]!
      return build('Read', { id }, id)
    }
    case 'Page': {
      const after = operation.cursors[n % operation.cursors.length]!
      return build('Page', { first: PAGE_SIZE, after }, '"hasNextPage":true')
    }
    case 'Submit': {
      const prompt = `a slow pan over the harbour, ${String(n).padStart(8, '0')}`
      const input = { image: { url: operation.imageUrl }, prompt, tags: ['bench', 'harbour'] }
      return build('Submit', { input }, '"status":"QUEUED"')
    }
  }
}

const build = (operationName: OperationName, variables: object, expectedText: string): PreparedRequest => ({
  body: JSON.stringify({ operationName, query: DOCUMENTS[operationName], variables }),
  expectedText,
})
