/**
 * The root view: asks for a key, then shows the dashboard of that key's app until the key is forgotten.
 */
import { html } from 'htm/preact'
import { useEffect, useState } from 'preact/hooks'
import { DashboardPage } from './dashboard-page.ts'
import { createDashboard, type Dashboard } from './dashboard-state.ts'
import { readFilterFromUrl } from './filters.ts'
import { findKey, forgetKey, keepKey } from './key.ts'
import { KeyPrompt } from './key-prompt.ts'

export function RootView() {
  const [key, setKey] = useState<string | null>(findKey)
  const [message, setMessage] = useState<string | null>(null)
  const [dashboard, setDashboard] = useState<Dashboard | null>(null)

  const leave = (message: string | null) => {
    forgetKey()
    setKey(null)
    setMessage(message)
  }

  useEffect(() => {
    // A link with another key may be opened in a tab that has the page already.
    const onHashChange = () => {
      const linked = findKey()
      if (linked !== null) setKey(linked)
    }
    addEventListener('hashchange', onHashChange)
    return () => removeEventListener('hashchange', onHashChange)
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
    setMessage(null)
  }

  if (key === null) return html`<${KeyPrompt} message=${message} onKey=${enter} />`
  return dashboard && html`<${DashboardPage} dashboard=${dashboard} onLeave=${() => leave(null)} />`
}
