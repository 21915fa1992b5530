/**
 * What makes a view look again: the board, and time.
 */
import { useEffect, useReducer } from 'preact/hooks'
import type { Board, State } from './dashboard-state.ts'

const useRedraw = () => useReducer<number, void>(count => count + 1, 0)[1]

export function useBoard(board: Board): State {
  const redraw = useRedraw()
  useEffect(() => board.watch(() => redraw()), [board])
  return board.state
}

/** While `isOn`. */
export function useEvery(ms: number, isOn: boolean): void {
  const redraw = useRedraw()
  useEffect(() => {
    if (!isOn) return
    const timer = setInterval(() => redraw(), ms)
    return () => clearInterval(timer)
  }, [ms, isOn])
}
