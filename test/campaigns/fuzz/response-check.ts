/**
 * The faults of any answer, each as a sentence.
 */

/** Part of all data of the target, and of no request. */
export const SECRET = 'heron'

/** A client's own close code is echoed. The gateway itself never uses these codes. */
export const isInvalidCloseCode = (code: number): boolean =>
  code < 1000 || code > 4999 || [1005, 1006, 1011, 1015, 4500].includes(code)

const CODE_TRACE = /(\\n|\n) +at |node_modules|file:\/\/|\.[jt]s:\d+/

export function textFaults(text: string): string[] {
  const faults: string[] = []
  if (text.includes(SECRET)) faults.push(`another app's data is in the answer: ${text.slice(0, 500)}`)
  if (CODE_TRACE.test(text)) faults.push(`the answer shows internals: ${text.slice(0, 500)}`)
  if (/INTERNAL_SERVER_ERROR|Unexpected error/.test(text))
    faults.push(`unexpected error: ${text.slice(0, 500)}`)
  return faults
}

/** The faults of one GraphQL result in JSON. */
export function resultFaults(text: string): string[] {
  let result: { data?: unknown; errors?: unknown }
  try {
    result = JSON.parse(text)
  } catch {
    return [`not JSON: ${text.slice(0, 300)}`]
  }
  if (typeof result !== 'object' || result === null || !('data' in result || 'errors' in result))
    return [`neither data nor errors: ${text.slice(0, 300)}`]
  return 'errors' in result ? errorFaults(result.errors) : []
}

export function errorFaults(errors: unknown): string[] {
  const isValid =
    Array.isArray(errors) &&
    errors.length > 0 &&
    errors.every(error => typeof error?.message === 'string' && error.message !== '')
  return isValid ? [] : [`invalid errors: ${JSON.stringify(errors).slice(0, 300)}`]
}

export function statusFaults(status: number): string[] {
  return status < 500 || status === 503 ? [] : [`status ${status}`]
}
