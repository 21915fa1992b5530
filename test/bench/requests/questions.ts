/**
 * What is asked of every server, as a client's request would carry it, and what must stand in the answer.
 * Invariant: no two submits are the same.
 */
export type Question =
  | { name: 'Read'; ids: readonly string[] }
  /** Null: the first page. */
  | { name: 'Page'; places: readonly (string | null)[] }
  | { name: 'Submit'; image: string }

export interface Asked {
  body: string
  /** A part of any good answer, and of no other. */
  proof: string
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
export type Operation = keyof typeof DOCUMENTS

export const PAGE = 20

/** The `n`th time. */
export function ask(question: Question, n: number): Asked {
  switch (question.name) {
    case 'Read': {
      const id = question.ids[n % question.ids.length]!
      return asked('Read', { id }, id)
    }
    case 'Page': {
      const after = question.places[n % question.places.length]!
      return asked('Page', { first: PAGE, after }, '"hasNextPage":true')
    }
    case 'Submit': {
      const prompt = `a slow pan over the harbour, ${String(n).padStart(8, '0')}`
      const input = { image: { url: question.image }, prompt, tags: ['bench', 'harbour'] }
      return asked('Submit', { input }, '"status":"QUEUED"')
    }
  }
}

const asked = (operationName: Operation, variables: object, proof: string): Asked => ({
  body: JSON.stringify({ operationName, query: DOCUMENTS[operationName], variables }),
  proof,
})
