/**
 * A file of a form, on its way from the door to the field that takes it.
 * Invariant: no JSON can make one, for it is known by a function; nor is it a list of bytes to whoever walks through
 * variables.
 */
export interface UploadFile {
  /** Null: it was not read to its end, being too large, or nobody's who may upload. */
  readonly read: () => Buffer | null
}

export const isUploadFile = (value: unknown): value is UploadFile =>
  typeof value === 'object' && value !== null && typeof (value as Partial<UploadFile>).read === 'function'
