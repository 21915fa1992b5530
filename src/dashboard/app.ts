/**
 * Who looks: nobody yet, or an app; its board lives as long as its key is shown.
 */
import { html } from 'htm/preact'
import { useEffect, useState } from 'preact/hooks'
import { DashboardPage } from './dashboard-page.ts'
import { createDashboard, type Dashboard } from './dashboard-state.ts'
import { readFilterFromUrl } from './filters.ts'
import { findKey, forgetKey, keepKey } from './key.ts'
import { KeyPrompt } from './key-prompt.ts'

export function App() {
  const [key, setKey] = useState<string | null>(findKey)
  const [why, setWhy] = useState<string | null>(null)
  const [dashboard, setDashboard] = useState<Dashboard | null>(null)

  const leave = (why: string | null) => {
    forgetKey()
    setKey(null)
    setWhy(why)
  }

  useEffect(() => {
    // A link with another key, opened where the page is open already.
    const changed = () => {
      const linked = findKey()
      if (linked !== null) setKey(linked)
    }
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])

  useEffect(() => {
    if (key === null) return
    const opened = createDashboard(key, readFilterFromUrl(), leave)
    setDashboard(opened)
    return () => {
      opened.close()
      setDashboard(null)
    }
  }, [key])

  const enter = (key: string) => {
    keepKey(key)
    setKey(key)
    setWhy(null)
  }

  if (key === null) return html`<${KeyPrompt} why=${why} onKey=${enter} />`
  return dashboard && html`<${DashboardPage} dashboard=${dashboard} onLeave=${() => leave(null)} />`
}
