/**
 * The page: a key is asked for, or found; then the board is shown.
 */
import { html, render } from 'htm/preact'
import { App } from './app.ts'

render(html`<${App} />`, document.body)
