/**
 * A real browser, if the machine has one. `openBrowser` starts it; each page has its own profile, with empty storage.
 * A page's errors and its requests to other hosts are in its `faults`: a test asserts that this list is empty.
 */
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'

export interface Tab {
  page: Page
  /**
   * Errors of the page and its console, violations of its policy, and requests that failed or went to another host.
   */
  faults: string[]
}

export interface Browser extends AsyncDisposable {
  /** Opens a page with a fresh profile. @param origins the only origins that it may request */
  open(origins: readonly string[], options?: BrowserContextOptions): Promise<Tab>
}

const BROWSER_NAMES = [
  'chromium',
  'chromium-browser',
  'google-chrome',
  'google-chrome-stable',
  'chrome',
  'microsoft-edge',
]
const INSTALL_PATHS = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
  ...['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'].flatMap(name => {
    const folder = process.env[name]
    return folder === undefined ? [] : [join(folder, 'Google', 'Chrome', 'Application', 'chrome.exe')]
  }),
]
const BROWSER_ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const NO_BROWSER_MESSAGE =
  'No Chromium or Chrome was found: the tests in a browser were skipped. Install one (apt-get install chromium), or name it in CHROMIUM_PATH.'

/** The browser's path. `CHROMIUM_PATH` has precedence and is not checked. */
export function findBrowser(): string | null {
  const { CHROMIUM_PATH, PATH = '' } = process.env
  if (CHROMIUM_PATH) return CHROMIUM_PATH
  const onPath = PATH.split(delimiter).flatMap(folder => BROWSER_NAMES.map(name => join(folder, name)))
  return [...onPath.filter(isExecutable), ...INSTALL_PATHS.filter(existsSync)][0] ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Vitest calls this once, after the last test. It reports that no browser was found. */
export function teardown(): void {
  if (findBrowser() === null) console.warn(`\n${NO_BROWSER_MESSAGE}`)
}

export async function openBrowser(): Promise<Browser> {
  const executablePath = findBrowser()
  if (executablePath === null) throw new Error(NO_BROWSER_MESSAGE)
  const { chromium } = await import('playwright-core')
  const browser = await chromium.launch({ executablePath, args: BROWSER_ARGUMENTS })
  return {
    async open(origins, options = {}) {
      const context = await browser.newContext(options)
      const page = await context.newPage()
      const faults: string[] = []
      page.on('pageerror', error => faults.push(`error: ${error.stack ?? error.message}`))
      page.on('console', message => {
        if (message.type() === 'error') faults.push(`console: ${message.text()} (${message.location().url})`)
      })
      context.on('request', request => {
        const { protocol, origin: requestOrigin } = new URL(request.url())
        if (!['data:', 'blob:'].includes(protocol) && !origins.includes(requestOrigin))
          faults.push(`foreign: ${request.url()}`)
      })
      context.on('requestfailed', failedRequest => {
        const reason = failedRequest.failure()?.errorText
        // The page itself, or a reload, aborted the request.
        if (reason !== 'net::ERR_ABORTED') faults.push(`failed: ${failedRequest.url()} (${reason})`)
      })
      return { page, faults }
    },
    [Symbol.asyncDispose]: () => browser.close(),
  }
}
