import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Job } from '../../src/domain/prediction.ts'
import { compareWithList, touchesLostTime } from '../../src/domain/restore.ts'

const row = (id: string, earliestAt = 0) => ({ job: { id } as Job, earliestAt })
/** A listed job that names the row whose input it has, as far as it is listed. */
const listed = (upstreamId: string, prompt: string | null, createdAt: number | null = 1) => ({
  upstreamId,
  createdAt,
  input: prompt === null ? null : { prompt },
})
const compareInput = (input: Record<string, unknown> | null, job: Job) =>
  input === null ? 'unclear' : input.prompt === job.id.slice(0, 1) ? 'same' : 'different'
const compare = (rows: ReturnType<typeof row>[], jobs: ReturnType<typeof listed>[]) => {
  const { findings, orphans } = compareWithList(rows, jobs, compareInput)
  return {
    findings: findings.map(finding => (finding.kind === 'adopt' ? finding.listed.upstreamId : finding.kind)),
    orphans: orphans.map(({ upstreamId }) => upstreamId),
  }
}

test('a row gets the one job with its input, and the other jobs are orphans', () => {
  expect(compare([row('a'), row('b')], [listed('1', 'a'), listed('2', 'c')])).toEqual({
    findings: ['1', 'restored-absent'],
    orphans: ['2'],
  })
})

test.each([
  ['two jobs with its input', [row('a')], [listed('1', 'a'), listed('2', 'a')]],
  ['another row with its input', [row('a1'), row('a2')], [listed('1', 'a')]],
  ['a job without an input', [row('a')], [listed('1', null)]],
  ['a second job without an input', [row('a')], [listed('1', 'a'), listed('2', null)]],
  ['a job without a time', [row('a')], [listed('1', 'a', null)]],
])('a row is not given a job if there is %s', (_, rows, jobs) => {
  expect(compare(rows, jobs)).toEqual({ findings: rows.map(() => 'restored-unsure'), orphans: [] })
})

test('a job that was created before the row could be sent is not its job', () => {
  expect(compare([row('a', 5)], [listed('1', 'a', 4)])).toEqual({
    findings: ['restored-absent'],
    orphans: ['1'],
  })
})

test('no job is given to two rows, and none whose input another row has', () => {
  const name = fc.constantFrom('a', 'b', 'c')
  fc.assert(
    fc.property(
      fc.array(name, { maxLength: 5 }),
      fc.array(fc.option(name), { maxLength: 5 }),
      (names, prompts) => {
        const rows = names.map((letter, i) => row(`${letter}${i}`))
        const { findings } = compare(
          rows,
          prompts.map((prompt, i) => listed(`${i}`, prompt)),
        )
        for (const [i, finding] of findings.entries()) {
          if (finding.startsWith('restored')) continue
          expect(prompts[Number(finding)]).toBe(names[i])
          expect(names.filter(letter => letter === names[i])).toHaveLength(1)
          expect(prompts.filter(prompt => prompt === null || prompt === names[i])).toHaveLength(1)
        }
      },
    ),
  )
})

test('a window touches a lost time if they share a moment', () => {
  const lost = [{ from: 10, to: 20 }]
  const touches = (from: number, to: number) => touchesLostTime(lost, { from, to })
  expect([touches(0, 9), touches(21, 30)]).toEqual([false, false])
  expect([touches(0, 10), touches(20, 30), touches(12, 13), touches(0, 30)]).toEqual([true, true, true, true])
  expect(touchesLostTime([], { from: 0, to: 30 })).toBe(false)
})
