/**
 * Tokens for a gateway, minted as an app mints them.
 */
import type { Harness, HarnessOptions } from './gateway.ts'

const CREATE_ACCESS_TOKEN = `mutation ($input: CreateAccessTokenInput!) {
  answer: createAccessToken(input: $input) {
    __typename
    ... on CreateAccessTokenPayload { token expiresAt }
    ... on Error { code }
    ... on InvalidInputError { issues { path message } }
  }
}`

/** Returns the answer of createAccessToken; `any`, since a test may expect a rejection. */
export async function requestToken(harness: Harness, input: object, key?: string) {
  const { data, errors } = await harness.query(CREATE_ACCESS_TOKEN, { input }, key)
  if (errors) throw new Error(JSON.stringify(errors))
  return data.answer
}

/** Mints a token that may read, and submit often, unless `input` says otherwise. */
export async function mintToken(harness: Harness, input: object = {}, key?: string): Promise<string> {
  const tokenInput = { permissions: ['READ', 'SUBMIT'], maxSubmits: 1000, ...input }
  const { token } = await requestToken(harness, tokenInput, key)
  return token
}

/** Upstream rejects every submit, so predictions stay queued. */
export const REJECT_SUBMITS: NonNullable<HarnessOptions['overrides']> = {
  simulator: { fault: () => ({ status: 401, body: '{"code":401,"message":"no"}' }) },
}
