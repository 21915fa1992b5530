/**
 * GraphiQL's own page: asks for a key once, and gives GraphiQL a fetcher that sends it.
 * Invariant: the key stands in sessionStorage and in a header, never in an address that reaches a server.
 */

import { createFetcher, type GraphiqlRequest } from './graphiql-fetcher.ts'
import { findKey, keepKey } from './key.ts'

/** As the gateway wrote it into the page. */
interface PageSettings {
  endpoint: string
  parts: string
  introspection: boolean
  tab: { query: string; variables: object }
}
declare const YogaGraphiQL: { renderYogaGraphiQL(root: Element, options: object): void }

const elementById = <Kind extends HTMLElement>(id: string) => document.getElementById(id) as Kind
const keyDialog = elementById<HTMLDialogElement>('door')
const keyField = elementById<HTMLInputElement>('key')
const enterButton = elementById<HTMLButtonElement>('enter')
const settings: PageSettings = JSON.parse(elementById('settings').textContent)

const setText = (id: 'refusal' | 'state' | 'app', text: string) => {
  elementById(id).textContent = text
}

let key = ''
let isRendered = false

// ── The key ──

function askForKey(): void {
  if (!keyDialog.open) keyDialog.showModal()
  keyField.select()
}

function showRefusal(message: string): void {
  setText('refusal', message)
  askForKey()
}

const UNKNOWN_KEY_MESSAGE = 'The gateway knows no such key, or no longer. Type another one.'

async function tryKey(candidate: string): Promise<void> {
  setText('refusal', '')
  keyField.value = candidate
  enterButton.disabled = true
  try {
    const response = await post({ query: '{ feedCursor viewer { name } }' }, candidate)
    if (response.status === 401) return showRefusal(UNKNOWN_KEY_MESSAGE)
    const { data, errors } = await response.json()
    // A token that may not read is a key all the same.
    if (!data && errors?.[0]?.extensions?.code !== 'FORBIDDEN')
      return showRefusal(errors?.[0]?.message ?? `The gateway answered ${response.status}.`)
    key = candidate
    keepKey(key)
    keyField.value = ''
    setText('app', data ? `GraphiQL, as ${data.viewer.name}` : 'GraphiQL')
    await renderGraphiql(data?.feedCursor)
    keyDialog.close()
  } catch {
    showRefusal('The gateway can’t be reached. Try again.')
  } finally {
    enterButton.disabled = false
  }
}

// ── Asking ──

const post = (operation: GraphiqlRequest, bearer: string, headers = {}, signal?: AbortSignal) =>
  fetch(settings.endpoint, {
    method: 'POST',
    headers: {
      accept: 'application/graphql-response+json, application/json',
      'content-type': 'application/json',
      authorization: `Bearer ${bearer}`,
      ...headers,
    },
    body: JSON.stringify(operation),
    signal: signal ?? null,
  })

/** Each operation ends under the key it began with. */
const fetcher = (...args: Parameters<ReturnType<typeof createFetcher>>) => {
  const bearer = key
  const execute = createFetcher({
    post: (operation, headers, signal) => post(operation, bearer, headers, signal),
    onInvalidKey: () => showRefusal(UNKNOWN_KEY_MESSAGE),
    onState: text => setText('state', text),
  })
  return execute(...args)
}

// ── GraphiQL ──

/** Its tabs, apart from those of any other GraphiQL that was at this port once. */
const tabStorage = {
  getItem: (name: string) => localStorage.getItem(`rushes.${name}`),
  setItem: (name: string, value: string) => localStorage.setItem(`rushes.${name}`, value),
  removeItem: (name: string) => localStorage.removeItem(`rushes.${name}`),
  clear() {
    for (const name of Object.keys(localStorage))
      if (name.startsWith('rushes.graphiql:')) localStorage.removeItem(name)
  },
  get length() {
    return localStorage.length
  },
}

/** The first tab begins anew with each visit: its place in the feed, and its image, were of the last one. */
function refreshFirstTab(tab: { query: string; variables: string }): void {
  const state = tabStorage.getItem('graphiql:tabState')
  if (state === null || tabStorage.getItem('graphiql:query') === tab.query) {
    // Else it takes the tab for another one after a reload, and opens one more beside it.
    tabStorage.setItem('graphiql:query', tab.query)
    tabStorage.setItem('graphiql:variables', tab.variables)
  }
  if (state === null) return
  const { tabs, ...rest } = JSON.parse(state) as { tabs: { query: string }[] }
  const refreshedTabs = tabs.map(stored =>
    stored.query === tab.query ? { ...stored, variables: tab.variables } : stored,
  )
  tabStorage.setItem('graphiql:tabState', JSON.stringify({ ...rest, tabs: refreshedTabs }))
}

async function renderGraphiql(after: string | undefined): Promise<void> {
  if (isRendered) return
  await graphiqlLoaded
  isRendered = true
  const { query, variables } = settings.tab
  const tab = { query, variables: JSON.stringify({ ...variables, ...(after && { after }) }, null, 2) }
  refreshFirstTab(tab)
  YogaGraphiQL.renderYogaGraphiQL(elementById('graphiql'), {
    fetcher,
    storage: tabStorage,
    defaultTabs: [tab],
    // Null: it does not ask.
    schema: settings.introspection ? undefined : null,
    // Else it writes each edit into the address.
    onEditQuery: () => {},
    // What is typed there it may keep in localStorage: the key has a field of its own.
    isHeadersEditorEnabled: false,
    shouldPersistHeaders: false,
    showPersistHeadersSettings: false,
  })
}

function loadGraphiql(): Promise<unknown> {
  const script = document.createElement('script')
  script.src = `${settings.parts}graphiql.js`
  const loaded = new Promise((resolve, reject) => {
    script.onload = resolve
    script.onerror = reject
  })
  document.head.append(script)
  return loaded
}

Object.assign(globalThis, {
  MonacoEnvironment: { getWorkerUrl: (_: string, name: string) => `${settings.parts}${name}.js` },
})
// While the key is typed.
const graphiqlLoaded = loadGraphiql()
graphiqlLoaded.catch(() => {})

elementById('form').addEventListener('submit', event => {
  event.preventDefault()
  tryKey(keyField.value.trim())
})
elementById('other').addEventListener('click', askForKey)
// Without a key there is nothing behind it.
keyDialog.addEventListener('cancel', event => {
  if (key === '') event.preventDefault()
})
addEventListener('hashchange', () => {
  const linked = findKey()
  if (linked !== null && linked !== key) tryKey(linked)
})

const storedKey = findKey()
if (storedKey === null) askForKey()
else await tryKey(storedKey)
