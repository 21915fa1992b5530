/**
 * The address of an upload's preview. Pure but for the random source.
 * Invariant: it can't be guessed, and nothing of the image or of its app is in it.
 */
import { randomBytes } from 'node:crypto'

export const UPLOAD_PATH = '/uploads/'
const FORM = /^[\w-]{24}$/

/** 144 bits of chance. */
export const newAddress = (): string => randomBytes(18).toString('base64url')

export const uploadPath = (address: string): string => `${UPLOAD_PATH}${address}`

/** Null for a path that is none of ours. */
export function addressIn(path: string): string | null {
  const address = path.slice(UPLOAD_PATH.length)
  return path.startsWith(UPLOAD_PATH) && FORM.test(address) ? address : null
}
