/**
 * Hooks that redraw a view: when the dashboard's state changes, or at intervals.
 */
import { useEffect, useReducer } from 'preact/hooks'
import type { Dashboard, DashboardState } from './dashboard-state.ts'

const useRedraw = () => useReducer<number, void>(count => count + 1, 0)[1]

export function useDashboard(dashboard: Dashboard): DashboardState {
  const redraw = useRedraw()
  useEffect(() => dashboard.subscribe(() => redraw()), [dashboard])
  return dashboard.state
}

/** Redraws every `ms` while `isOn`. */
export function useRedrawEvery(ms: number, isOn: boolean): void {
  const redraw = useRedraw()
  useEffect(() => {
    if (!isOn) return
    const timer = setInterval(() => redraw(), ms)
    return () => clearInterval(timer)
  }, [ms, isOn])
}
