/**
 * A file of a multipart request, on its way from the parser to the field that takes it.
 * Invariant: JSON cannot make one, since it is recognised by a function. Code that walks the variables does
 * not see its bytes.
 */
export interface UploadFile {
  /** Null if the file was not read to its end: it was too large, or the caller may not upload. */
  readonly read: () => Buffer | null
}
