/**
 * Entry point of the dashboard page.
 */
import { html, render } from 'htm/preact'
import { RootView } from './root-view.ts'

render(html`<${RootView} />`, document.body)
