import { expect, test } from 'vitest'
import type { Input } from '../../src/domain/prediction.ts'
import { agrees, parameters } from '../../src/upstream/request-body.ts'
import { INPUT } from '../support/store.ts'

const SAME = { image: INPUT.imageUrl, prompt: INPUT.prompt, duration: 5, enable_prompt_expansion: false }

test.each<[string, Record<string, unknown>, Partial<Input>, boolean]>([
  ['what was sent', parameters(INPUT), {}, true],
  ['nothing', {}, {}, true],
  ['what is not known of', { fps: 24, image: null, prompt: undefined }, {}, true],
  ['a part of it', { prompt: INPUT.prompt }, {}, true],
  ['another image', { ...SAME, image: 'https://images.example/dog.png' }, {}, false],
  ['another prompt', { ...SAME, prompt: 'a slow pan ' }, {}, false],
  ['another duration', { ...SAME, duration: 8 }, {}, false],
  ['a duration in words', { ...SAME, duration: '5' }, {}, false],
  ['an expansion that was not asked for', { ...SAME, enable_prompt_expansion: true }, {}, false],
  ['the seed that was drawn for a random one', { ...SAME, seed: 4711 }, {}, true],
  ['the seed that was asked for', { ...SAME, seed: 7 }, { seed: 7 }, true],
  ['another seed than was asked for', { ...SAME, seed: 8 }, { seed: 7 }, false],
  ['an empty negative prompt for none', { ...SAME, negative_prompt: '' }, {}, true],
  ['a negative prompt that was not asked for', { ...SAME, negative_prompt: 'blur' }, {}, false],
  ['the negative prompt that was', { ...SAME, negative_prompt: 'blur' }, { negativePrompt: 'blur' }, true],
  ['another negative prompt', { ...SAME, negative_prompt: '' }, { negativePrompt: 'blur' }, false],
])('a listed input that has %s agrees: %#', (_, listed, over, isSame) => {
  expect(agrees(listed, { ...INPUT, ...over })).toBe(isSame)
})
