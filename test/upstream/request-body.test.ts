import { expect, test } from 'vitest'
import type { Input } from '../../src/domain/prediction.ts'
import { matchesInput, toRequestBody } from '../../src/upstream/request-body.ts'
import { INPUT } from '../support/store.ts'

const MATCHING_INPUT = {
  image: INPUT.imageUrl,
  prompt: INPUT.prompt,
  duration: 5,
  enable_prompt_expansion: false,
}

test.each<[string, Record<string, unknown>, Partial<Input>, boolean]>([
  ['what was sent', toRequestBody(INPUT), {}, true],
  ['nothing', {}, {}, true],
  ['what is not known of', { fps: 24, image: null, prompt: undefined }, {}, true],
  ['a part of it', { prompt: INPUT.prompt }, {}, true],
  ['another image', { ...MATCHING_INPUT, image: 'https://images.example/dog.png' }, {}, false],
  ['another prompt', { ...MATCHING_INPUT, prompt: 'a slow pan ' }, {}, false],
  ['another duration', { ...MATCHING_INPUT, duration: 8 }, {}, false],
  ['a duration in words', { ...MATCHING_INPUT, duration: '5' }, {}, false],
  ['an expansion that was not asked for', { ...MATCHING_INPUT, enable_prompt_expansion: true }, {}, false],
  ['the seed that was drawn for a random one', { ...MATCHING_INPUT, seed: 4711 }, {}, true],
  ['the seed that was asked for', { ...MATCHING_INPUT, seed: 7 }, { seed: 7 }, true],
  ['another seed than was asked for', { ...MATCHING_INPUT, seed: 8 }, { seed: 7 }, false],
  ['an empty negative prompt for none', { ...MATCHING_INPUT, negative_prompt: '' }, {}, true],
  ['a negative prompt that was not asked for', { ...MATCHING_INPUT, negative_prompt: 'blur' }, {}, false],
  [
    'the negative prompt that was',
    { ...MATCHING_INPUT, negative_prompt: 'blur' },
    { negativePrompt: 'blur' },
    true,
  ],
  ['another negative prompt', { ...MATCHING_INPUT, negative_prompt: '' }, { negativePrompt: 'blur' }, false],
])('a listed input that has %s is compared: %#', (_, listed, over, isSame) => {
  expect(matchesInput(listed, { ...INPUT, ...over })).toBe(isSame)
})
