/**
 * The form that asks for a key.
 */
import { html } from 'htm/preact'
import { useEffect, useRef } from 'preact/hooks'

/** The same characters as in key.ts. A `Bearer` before the key is removed. */
const KEY_PATTERN = '[\\x21-\\x7e]+'

/** `message`: why another key is needed; null at first. */
export function KeyPrompt({ message, onKey }: { message: string | null; onKey(key: string): void }) {
  const field = useRef<HTMLInputElement>(null)
  // The autofocus attribute works only while the page loads.
  useEffect(() => field.current?.focus(), [message])
  const enter = (event: SubmitEvent) => {
    event.preventDefault()
    const key = String(new FormData(event.target as HTMLFormElement).get('key')).trim()
    if (key !== '') onKey(key.replace(/^Bearer\s+/i, ''))
  }
  return html`
    <main class="key-prompt">
      <img src="/assets/dashboard/icon.svg" alt="" width="40" height="40" />
      <h1>Rushes</h1>
      <form onSubmit=${enter}>
        <label for="key">The key of your app, or a token of it</label>
        <input
          id="key" name="key" type="password" required autocomplete="off" ref=${field} spellcheck=${false}
          pattern=${`\\s*(Bearer\\s+)?${KEY_PATTERN}\\s*`} title="rsh_… without spaces" placeholder="rsh_…"
          aria-describedby=${message ? 'key-error' : undefined} aria-invalid=${message ? 'true' : undefined} />
        ${message && html`<p id="key-error" class="error" role="alert">${message}</p>`}
        <button class="primary">Open</button>
      </form>
      <p class="hint">
        It stays in this tab and goes to this gateway alone. On the simulator, <code>npm start</code> prints a link that
        has one; <code>npm run app -- create NAME</code> makes one.
      </p>
    </main>
  `
}
