/** The input of a job, for tests and for the processes that they start. */
import type { Input } from '../../src/domain/prediction.ts'

export const INPUT: Input = {
  imageUrl: 'https://images.example/cat.png',
  prompt: 'a slow pan',
  negativePrompt: null,
  duration: 5,
  enablePromptExpansion: false,
  seed: -1,
}
