/**
 * The GraphiQL page: asks for a key once, and gives GraphiQL a fetcher that sends it.
 * Invariant: the key is only in sessionStorage and in a header, never in a URL that reaches a server.
 */
import { createFetcher, type GraphiqlRequest } from './graphiql-fetcher.ts'
import { findKey, keepKey } from './key.ts'

/** Settings that the gateway has written into the page. */
interface PageSettings {
  endpoint: string
  assetsPath: string
  allowIntrospection: boolean
  tab: { query: string; variables: object }
}
declare const YogaGraphiQL: { renderYogaGraphiQL(root: Element, options: object): void }

const elementById = <Kind extends HTMLElement>(id: string) => document.getElementById(id) as Kind
const keyDialog = elementById<HTMLDialogElement>('key-dialog')
const keyField = elementById<HTMLInputElement>('key')
const enterButton = elementById<HTMLButtonElement>('enter')
const settings: PageSettings = JSON.parse(elementById('settings').textContent)

const setText = (id: 'key-error' | 'state' | 'app', text: string) => {
  elementById(id).textContent = text
}

let key = ''
let isRendered = false

// ── The key ──

function askForKey(): void {
  if (!keyDialog.open) keyDialog.showModal()
  keyField.select()
}

function showKeyError(message: string): void {
  setText('key-error', message)
  askForKey()
}

const UNKNOWN_KEY_MESSAGE = 'The gateway knows no such key, or no longer. Type another one.'

async function tryKey(candidate: string): Promise<void> {
  setText('key-error', '')
  keyField.value = candidate
  enterButton.disabled = true
  try {
    const response = await post({ query: '{ feedCursor viewer { name } }' }, candidate)
    if (response.status === 401) return showKeyError(UNKNOWN_KEY_MESSAGE)
    const { data, errors } = await response.json()
    // A token without READ is a valid credential.
    if (!data && errors?.[0]?.extensions?.code !== 'FORBIDDEN')
      return showKeyError(errors?.[0]?.message ?? `The gateway answered ${response.status}.`)
    key = candidate
    keepKey(key)
    keyField.value = ''
    setText('app', data ? `GraphiQL, as ${data.viewer.name}` : 'GraphiQL')
    await renderGraphiql(data?.feedCursor)
    keyDialog.close()
  } catch {
    showKeyError('The gateway can’t be reached. Try again.')
  } finally {
    enterButton.disabled = false
  }
}

// ── Requests ──

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

/** Each operation uses the key it started with until it ends. */
const fetcher = (...args: Parameters<ReturnType<typeof createFetcher>>) => {
  const bearer = key
  const execute = createFetcher({
    post: (operation, headers, signal) => post(operation, bearer, headers, signal),
    onInvalidKey: () => showKeyError(UNKNOWN_KEY_MESSAGE),
    onState: text => setText('state', text),
  })
  return execute(...args)
}

// ── GraphiQL ──

/** Storage with a prefix, so that tabs of another GraphiQL that once ran on this port are not read. */
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

/** Resets the variables of the first tab on each visit: its cursor and its image are those of the last visit. */
function refreshFirstTab(tab: { query: string; variables: string }): void {
  const state = tabStorage.getItem('graphiql:tabState')
  if (state === null || tabStorage.getItem('graphiql:query') === tab.query) {
    // Otherwise GraphiQL does not recognise the tab after a reload, and opens another one.
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
    // Null: GraphiQL sends no introspection query.
    schema: settings.allowIntrospection ? undefined : null,
    // Without it GraphiQL writes each edit into the URL.
    onEditQuery: () => {},
    // Headers may be stored in localStorage, and the key has its own field.
    isHeadersEditorEnabled: false,
    shouldPersistHeaders: false,
    showPersistHeadersSettings: false,
  })
}

function loadGraphiql(): Promise<unknown> {
  const script = document.createElement('script')
  script.src = `${settings.assetsPath}graphiql.js`
  const loaded = new Promise((resolve, reject) => {
    script.onload = resolve
    script.onerror = reject
  })
  document.head.append(script)
  return loaded
}

Object.assign(globalThis, {
  MonacoEnvironment: { getWorkerUrl: (_: string, name: string) => `${settings.assetsPath}${name}.js` },
})
// GraphiQL loads while the user types the key.
const graphiqlLoaded = loadGraphiql()
graphiqlLoaded.catch(() => {})

elementById('form').addEventListener('submit', event => {
  event.preventDefault()
  tryKey(keyField.value.trim())
})
elementById('change-key').addEventListener('click', askForKey)
// The dialog stays open without a key: the page behind it is empty.
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
