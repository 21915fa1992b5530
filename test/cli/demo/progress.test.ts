import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createProgress } from '../../../src/cli/demo/progress.ts'

/** Moves to the start of the line and clears it. */
const CLEAR_LINE = '\r\x1b[2K'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function stream(isTTY: boolean) {
  const written: string[] = []
  return {
    written,
    isTTY,
    columns: 24,
    write: (text: string) => written.push(text) > 0,
  } as unknown as NodeJS.WriteStream & { written: string[] }
}

test('a pipe gets a plain line per change, and none for a repetition', () => {
  const pipe = stream(false)
  const progress = createProgress(pipe)
  progress.update('QUEUED')
  vi.advanceTimersByTime(1500)
  progress.update('CREATED')
  progress.update('CREATED')
  progress.end()
  expect(pipe.written).toEqual(['  0.0 s  QUEUED\n', '  1.5 s  CREATED\n'])
})

test('a terminal gets one live line, no wider than the screen, whose last text stays', () => {
  const terminal = stream(true)
  const progress = createProgress(terminal)
  progress.update('PROCESSING, and some more words')
  vi.advanceTimersByTime(1000)
  expect(terminal.written.length).toBeGreaterThan(9)
  for (const line of terminal.written) {
    expect(line.startsWith(CLEAR_LINE)).toBe(true)
    expect(line.length - CLEAR_LINE.length).toBe(23)
  }
  progress.update('COMPLETED')
  progress.end()
  expect(terminal.written.slice(-2)).toEqual([`${CLEAR_LINE}•   1.0 s  COMPLETED`, '\n'])
  const count = terminal.written.length
  vi.advanceTimersByTime(1000)
  expect(terminal.written).toHaveLength(count)
})
