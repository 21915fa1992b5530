/**
 * Tokens for a gateway, minted as an app mints them.
 */
import type { Harness, HarnessOptions } from './gateway.ts'

export interface Minted {
  token: string
  expiresAt: string
}

const MINT = `mutation ($input: CreateAccessTokenInput!) {
  answer: createAccessToken(input: $input) {
    __typename
    ... on CreateAccessTokenPayload { token expiresAt }
    ... on Error { code }
    ... on InvalidInputError { issues { path message } }
  }
}`

/** What createAccessToken answers; `any`, since a test may ask for what is refused. */
export async function askForToken(harness: Harness, input: object, key?: string) {
  const { data, errors } = await harness.query(MINT, { input }, key)
  if (errors) throw new Error(JSON.stringify(errors))
  return data.answer
}

/** A token that may read, and submit often, unless it is asked for otherwise. */
export async function mint(harness: Harness, input: object = {}, key?: string): Promise<string> {
  const asked = { permissions: ['READ', 'SUBMIT'], maxSubmits: 1000, ...input }
  const { token } = await askForToken(harness, asked, key)
  return token
}

/** Upstream takes nothing: what is submitted waits. */
export const STILL: NonNullable<HarnessOptions['overrides']> = {
  simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) },
}
