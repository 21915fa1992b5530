import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Browser, findBrowser, openBrowser, type Tab } from '../support/browser.ts'
import { type Harness, startGateway } from '../support/gateway.ts'
import { until } from '../support/until.ts'

/** The timeout is long because a simulated job takes eight seconds. */
describe.skipIf(findBrowser() === null)('GraphiQL in a browser', { timeout: 60_000 }, () => {
  let browser: Browser

  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(() => browser[Symbol.asyncDispose]())

  const WAIT = { timeout: 20_000 }
  /** Errors of the page without those of a 401 from the API, which Chromium logs as errors. */
  const except401 = (faults: string[]) => faults.filter(fault => !fault.includes('status of 401'))

  const type = async ({ page }: Tab, key: string) => {
    await page.getByLabel('Key or access token').fill(key)
    await page.getByRole('button', { name: 'Open', exact: true }).click()
  }
  const isReady = ({ page }: Tab) => page.locator('.graphiql-execute-button').waitFor(WAIT)
  const runOperation = async ({ page }: Tab, operation: string) => {
    await page.locator('.graphiql-execute-button').click()
    await page.getByRole('menuitem', { name: operation }).click()
  }
  const untilShown = ({ page }: Tab, text: string) =>
    until(async () => (await page.locator('.result-window').innerText()).includes(text), 30_000)
  const openGraphiQL = async (gateway: Harness) => {
    const tab = await browser.open([gateway.gateway.url])
    await tab.page.goto(`${gateway.gateway.endpoint}#key=${gateway.key}`)
    await isReady(tab)
    return tab
  }

  test('with a key typed once the first tab submits and watches to the end, without a request to another host', async () => {
    await using gateway = await startGateway()
    const tab = await browser.open([gateway.gateway.url])
    await tab.page.goto(gateway.gateway.endpoint)
    await type(tab, gateway.key)
    await isReady(tab)
    expect(await tab.page.getByText('GraphiQL, as test').isVisible()).toBe(true)

    await runOperation(tab, 'Submit')
    await untilShown(tab, '"QUEUED"')
    await runOperation(tab, 'Watch')
    await untilShown(tab, '"COMPLETED"')
    await untilShown(tab, '.mp4"')
    expect(tab.faults).toEqual([])
  })

  test('the key is in no URL and not in localStorage, and a reload does not ask for it', async () => {
    await using gateway = await startGateway()
    const tab = await browser.open([gateway.gateway.url])
    const asked: string[] = []
    tab.page.on('request', request => asked.push(request.url()))
    await tab.page.goto(`${gateway.gateway.endpoint}#key=${gateway.key}`)
    await isReady(tab)
    expect(tab.page.url()).toBe(gateway.gateway.endpoint)
    await tab.page.reload()
    await isReady(tab)
    expect(await tab.page.getByRole('dialog').isVisible()).toBe(false)
    expect(await tab.page.locator('.graphiql-tab').count()).toBe(1)
    expect(asked.filter(url => url.includes('rsh_'))).toEqual([])
    const kept = String(await tab.page.evaluate('JSON.stringify(localStorage)'))
    expect(kept).toContain('predictionFeed')
    expect(kept).not.toContain('rsh_')
    expect(await tab.page.evaluate("sessionStorage.getItem('rushes.key')")).toBe(gateway.key)
    expect(tab.faults).toEqual([])
  })

  test('a wrong key gets a message, and another one can be typed', async () => {
    await using gateway = await startGateway()
    const tab = await browser.open([gateway.gateway.url])
    await tab.page.goto(gateway.gateway.endpoint)
    await type(tab, 'rsh_wrong')
    await tab.page.getByRole('alert').getByText('no such key').waitFor(WAIT)
    await type(tab, gateway.key)
    await isReady(tab)
    expect(except401(tab.faults)).toEqual([])
    expect(tab.faults).toHaveLength(1)
  })

  test('a key that was revoked is asked for again', async () => {
    await using gateway = await startGateway()
    const tab = await openGraphiQL(gateway)
    const { store } = gateway.gateway
    await store.revokeAllKeys((await store.findAppByName('test'))!.id)
    // The gateway notices within five seconds.
    await until(async () => {
      await runOperation(tab, 'Submit')
      return tab.page.getByRole('dialog').isVisible()
    }, 30_000)
    expect(except401(tab.faults)).toEqual([])
  })

  test('a subscription continues after a restart of the gateway', async () => {
    await using gateway = await startGateway()
    const tab = await openGraphiQL(gateway)
    await runOperation(tab, 'Watch')
    await gateway.restart()
    await tab.page.getByText('The connection is gone').waitFor(WAIT)
    const { data } = await gateway.query(SUBMIT)
    await untilShown(tab, '"COMPLETED"')
    expect(data.submitVideo.prediction.id).toBeTruthy()
    expect(await tab.page.getByText('The connection is gone').isVisible()).toBe(false)
  })

  test('completion, docs and the explorer work under the content security policy of the page', async () => {
    await using gateway = await startGateway()
    const tab = await openGraphiQL(gateway)
    await tab.page.getByRole('button', { name: 'Show Documentation Explorer' }).click()
    await tab.page.getByText('A GraphQL schema provides').waitFor(WAIT)
    await tab.page.getByRole('button', { name: 'Show GraphiQL Explorer' }).click()
    await tab.page.locator('.graphiql-explorer-root, .docExplorerWrap').first().waitFor(WAIT)
    expect(tab.faults).toEqual([])
  })

  test('without introspection the page does not request the schema, and the first tab works all the same', async () => {
    await using gateway = await startGateway({ env: { ALLOW_INTROSPECTION: '0' } })
    const tab = await browser.open([gateway.gateway.url])
    const asked: string[] = []
    tab.page.on('request', request => asked.push(request.postData() ?? ''))
    await tab.page.goto(`${gateway.gateway.endpoint}#key=${gateway.key}`)
    await isReady(tab)
    expect(await tab.page.getByText('ALLOW_INTROSPECTION=1').isVisible()).toBe(true)
    await runOperation(tab, 'Submit')
    await untilShown(tab, '"QUEUED"')
    expect(asked.filter(body => body.includes('__schema'))).toEqual([])
    expect(tab.faults).toEqual([])
  })
})

const SUBMIT = `mutation {
  submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "a pan sim:seconds=0.2" }) {
    ... on SubmitVideoPayload { prediction { id } }
  }
}`
