/**
 * GraphiQL's HTML page: a header, the dialog for the key, GraphiQL. The page contains nothing about any app.
 */
import type { GraphiqlTab } from './graphiql-first-tab.ts'

/** Settings that the page's script reads from the page. */
export interface GraphiqlSettings {
  endpoint: string
  /** Path of the assets, with a slash at its end. */
  assetsPath: string
  allowIntrospection: boolean
  tab: GraphiqlTab
}

const NOTICE =
  '<p id="notice">This gateway keeps its schema to itself: no completion, and no docs here. <code>ALLOW_INTROSPECTION=1</code> switches them on; the schema is in <code>schema.graphql</code>.</p>'

export const renderGraphiqlPage = (settings: GraphiqlSettings): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Rushes · GraphiQL</title>
<link rel="icon" href="/assets/dashboard/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${settings.assetsPath}graphiql.css">
<link rel="stylesheet" href="/assets/dashboard/tokens.css">
<link rel="stylesheet" href="/assets/dashboard/graphiql.css">
<script type="module" src="/assets/dashboard/graphiql.ts"></script>
</head>
<body>
<header>
  <h1><a href="/"><img src="/assets/dashboard/icon.svg" alt="" width="24" height="24">Rushes</a></h1>
  <p id="app">GraphiQL</p>
  <p id="state" role="status"></p>
  <a href="/">Dashboard</a>
  <button id="change-key" type="button">Key…</button>
  ${settings.allowIntrospection ? '' : NOTICE}
</header>
<main id="graphiql"><noscript>GraphiQL needs JavaScript.</noscript></main>
<dialog id="key-dialog" aria-labelledby="key-dialog-title">
  <form id="form">
    <h2 id="key-dialog-title">Which key?</h2>
    <p>It stays in this browser tab, and goes to this gateway alone.</p>
    <label for="key">Key or access token</label>
    <div>
      <input id="key" type="password" placeholder="rsh_…" autocomplete="off" autocapitalize="off" spellcheck="false" required aria-describedby="key-error">
      <button id="enter">Open</button>
    </div>
    <p id="key-error" role="alert"></p>
  </form>
</dialog>
<script id="settings" type="application/json">${JSON.stringify(settings).replaceAll('<', '\\u003c')}</script>
</body>
</html>
`
