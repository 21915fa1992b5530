/**
 * Checks URLs that browsers and HTTP clients must read alike. Pure.
 */

/** True for an http or https URL without white space and control characters, which some parsers drop and others keep. */
export const isWebUrl = (text: string): boolean =>
  /^[^\s\p{Cc}]+$/u.test(text) && /^https?:$/.test(URL.parse(text)?.protocol ?? '')
