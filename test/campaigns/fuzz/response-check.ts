/**
 * What is wrong with an answer, whatever was asked. Each fault is a sentence.
 */

/** In all that the other app has, and in nothing that is sent. */
export const SECRET = 'heron'

/** A client's own code is sent back to it; none of the gateway's is of these, and none is no code at all. */
export const isInvalidCloseCode = (code: number): boolean =>
  code < 1000 || code > 4999 || [1005, 1006, 1011, 1015, 4500].includes(code)

const CODE_TRACE = /(\\n|\n) +at |node_modules|file:\/\/|\.[jt]s:\d+/

export function textFaults(text: string): string[] {
  const faults: string[] = []
  if (text.includes(SECRET)) faults.push(`it tells what is another app's: ${text.slice(0, 500)}`)
  if (CODE_TRACE.test(text)) faults.push(`it tells of the code: ${text.slice(0, 500)}`)
  if (/INTERNAL_SERVER_ERROR|Unexpected error/.test(text))
    faults.push(`nobody foresaw it: ${text.slice(0, 500)}`)
  return faults
}

/** Of one result as GraphQL has it, in JSON. */
export function resultFaults(text: string): string[] {
  let result: { data?: unknown; errors?: unknown }
  try {
    result = JSON.parse(text)
  } catch {
    return [`it is no JSON: ${text.slice(0, 300)}`]
  }
  if (typeof result !== 'object' || result === null || !('data' in result || 'errors' in result))
    return [`it has neither data nor errors: ${text.slice(0, 300)}`]
  return 'errors' in result ? errorFaults(result.errors) : []
}

export function errorFaults(errors: unknown): string[] {
  const isValid =
    Array.isArray(errors) &&
    errors.length > 0 &&
    errors.every(error => typeof error?.message === 'string' && error.message !== '')
  return isValid ? [] : [`its errors are none: ${JSON.stringify(errors).slice(0, 300)}`]
}

export function statusFaults(status: number): string[] {
  return status < 500 || status === 503 ? [] : [`it is a ${status}`]
}
