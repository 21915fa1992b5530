/**
 * The request body of a submit. Pure.
 * Invariant: documented keys only. Upstream ignores an unknown key and charges for the defaults.
 */
import type { Input } from '../domain/prediction.ts'

/** The flat body of a submit. */
export const toRequestBody = (input: Input) => ({
  image: input.imageUrl,
  prompt: input.prompt,
  ...(input.negativePrompt !== null && { negative_prompt: input.negativePrompt }),
  duration: input.duration,
  enable_prompt_expansion: input.enablePromptExpansion,
  seed: input.seed,
})

/** The app's own text that a response may quote. */
export const userSuppliedText = ({ imageUrl, prompt, negativePrompt }: Input): string[] =>
  [imageUrl, prompt, negativePrompt ?? ''].filter(text => text !== '')

/** Whether a listed job may have this input: every parameter that both name is equal. */
export function matchesInput(listed: Readonly<Record<string, unknown>>, input: Input): boolean {
  const { seed, ...sent } = toRequestBody(input)
  // A random seed may be listed as the one that was drawn.
  const expected = Object.entries(seed === -1 ? sent : { ...sent, seed })
  return (
    expected.every(([name, value]) => (listed[name] ?? value) === value) &&
    hasNoExtraNegativePrompt(listed, input)
  )
}

const hasNoExtraNegativePrompt = (
  { negative_prompt: listed }: Readonly<Record<string, unknown>>,
  input: Input,
): boolean => input.negativePrompt !== null || (listed ?? '') === ''
