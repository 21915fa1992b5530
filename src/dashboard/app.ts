/**
 * Who looks: nobody yet, or an app; its board lives as long as its key is shown.
 */
import { html } from 'htm/preact'
import { useEffect, useState } from 'preact/hooks'
import { Desk } from './dashboard-page.ts'
import { type Board, createBoard } from './dashboard-state.ts'
import { filterInAddress } from './filters.ts'
import { findKey, forgetKey, keepKey } from './key.ts'
import { Gate } from './key-prompt.ts'

export function App() {
  const [key, setKey] = useState<string | null>(findKey)
  const [why, setWhy] = useState<string | null>(null)
  const [board, setBoard] = useState<Board | null>(null)

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
    const opened = createBoard(key, filterInAddress(), leave)
    setBoard(opened)
    return () => {
      opened.close()
      setBoard(null)
    }
  }, [key])

  const enter = (key: string) => {
    keepKey(key)
    setKey(key)
    setWhy(null)
  }

  if (key === null) return html`<${Gate} why=${why} onKey=${enter} />`
  return board && html`<${Desk} board=${board} onLeave=${() => leave(null)} />`
}
