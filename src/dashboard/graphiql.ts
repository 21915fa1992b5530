/**
 * GraphiQL's own page: asks for a key once, and gives GraphiQL a fetcher that sends it.
 * Invariant: the key stands in sessionStorage and in a header, never in an address that reaches a server.
 */
import { findKey, keepKey } from './key.ts'
import { createFetcher, type Operation } from './watch.ts'

/** As the gateway wrote it into the page. */
interface Settings {
  endpoint: string
  parts: string
  introspection: boolean
  tab: { query: string; variables: object }
}
declare const YogaGraphiQL: { renderYogaGraphiQL(root: Element, options: object): void }

const one = <Kind extends HTMLElement>(id: string) => document.getElementById(id) as Kind
const door = one<HTMLDialogElement>('door')
const field = one<HTMLInputElement>('key')
const enterButton = one<HTMLButtonElement>('enter')
const settings: Settings = JSON.parse(one('settings').textContent)

const tell = (id: 'refusal' | 'state' | 'app', words: string) => {
  one(id).textContent = words
}

let key = ''
let opened = false

// ── The key ──

function ask(): void {
  if (!door.open) door.showModal()
  field.select()
}

function refuse(words: string): void {
  tell('refusal', words)
  ask()
}

const UNKNOWN = 'The gateway knows no such key, or no longer. Type another one.'

async function enter(candidate: string): Promise<void> {
  tell('refusal', '')
  field.value = candidate
  enterButton.disabled = true
  try {
    const response = await post({ query: '{ feedCursor viewer { name } }' }, candidate)
    if (response.status === 401) return refuse(UNKNOWN)
    const { data, errors } = await response.json()
    // A token that may not read is a key all the same.
    if (!data && errors?.[0]?.extensions?.code !== 'FORBIDDEN')
      return refuse(errors?.[0]?.message ?? `The gateway answered ${response.status}.`)
    key = candidate
    keepKey(key)
    field.value = ''
    tell('app', data ? `GraphiQL, as ${data.viewer.name}` : 'GraphiQL')
    await open(data?.feedCursor)
    door.close()
  } catch {
    refuse('The gateway can’t be reached. Try again.')
  } finally {
    enterButton.disabled = false
  }
}

// ── Asking ──

const post = (operation: Operation, bearer: string, headers = {}, signal?: AbortSignal) =>
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
const fetcher = (...asked: Parameters<ReturnType<typeof createFetcher>>) => {
  const bearer = key
  const ask = createFetcher({
    post: (operation, headers, signal) => post(operation, bearer, headers, signal),
    onBarred: () => refuse(UNKNOWN),
    onState: words => tell('state', words),
  })
  return ask(...asked)
}

// ── GraphiQL ──

/** Its tabs, apart from those of any other GraphiQL that was at this port once. */
const kept = {
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
function renew(tab: { query: string; variables: string }): void {
  const state = kept.getItem('graphiql:tabState')
  if (state === null || kept.getItem('graphiql:query') === tab.query) {
    // Else it takes the tab for another one after a reload, and opens one more beside it.
    kept.setItem('graphiql:query', tab.query)
    kept.setItem('graphiql:variables', tab.variables)
  }
  if (state === null) return
  const { tabs, ...rest } = JSON.parse(state) as { tabs: { query: string }[] }
  const renewed = tabs.map(old => (old.query === tab.query ? { ...old, variables: tab.variables } : old))
  kept.setItem('graphiql:tabState', JSON.stringify({ ...rest, tabs: renewed }))
}

async function open(after: string | undefined): Promise<void> {
  if (opened) return
  await graphiql
  opened = true
  const { query, variables } = settings.tab
  const tab = { query, variables: JSON.stringify({ ...variables, ...(after && { after }) }, null, 2) }
  renew(tab)
  YogaGraphiQL.renderYogaGraphiQL(one('graphiql'), {
    fetcher,
    storage: kept,
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

function load(): Promise<unknown> {
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
const graphiql = load()
graphiql.catch(() => {})

one('form').addEventListener('submit', event => {
  event.preventDefault()
  enter(field.value.trim())
})
one('other').addEventListener('click', ask)
// Without a key there is nothing behind it.
door.addEventListener('cancel', event => {
  if (key === '') event.preventDefault()
})
addEventListener('hashchange', () => {
  const linked = findKey()
  if (linked !== null && linked !== key) enter(linked)
})

const known = findKey()
if (known === null) ask()
else await enter(known)
