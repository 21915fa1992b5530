/**
 * Whether a text is a URL that a browser or a fetcher takes as it stands. Pure.
 */

/** http or https; no white space and no control character, which some parsers drop and others do not. */
export const isWebUrl = (text: string): boolean =>
  /^[^\s\p{Cc}]+$/u.test(text) && /^https?:$/.test(URL.parse(text)?.protocol ?? '')
