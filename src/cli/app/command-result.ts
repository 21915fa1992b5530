/**
 * The result of a command of `npm run app`, in the two forms in which it can be printed.
 */
export interface CommandResult {
  text: string
  json: unknown
}
