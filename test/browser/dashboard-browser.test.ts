import axe from 'axe-core'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createFaultProxy, type FaultProxy } from '../campaigns/connections/fault-proxy.ts'
import { type Browser, findBrowser, openBrowser } from '../support/browser.ts'
import { type HarnessOptions, startGateway, submit } from '../support/gateway.ts'
import { mintToken } from '../support/token.ts'
import { until } from '../support/until.ts'

interface PageOptions extends Pick<HarnessOptions, 'env'> {
  page?: BrowserContextOptions
  /** The page connects through this proxy. */
  network?: FaultProxy
}

const TIMEOUT_MS = 15_000
const SAMPLE = 'src/simulator/assets/sample.jpg'

describe.skipIf(findBrowser() === null)('the dashboard in a browser', { timeout: 60_000 }, () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(() => browser[Symbol.asyncDispose]())

  /** A gateway with its simulator, and the dashboard in a page. `faults` are the errors of the page. */
  async function openPage(path = '/', { env = {}, page: options = {}, network }: PageOptions = {}) {
    const harness = await startGateway({ env, images: true })
    network?.setTarget(Number(new URL(harness.gateway.url).port))
    const origin = network?.url ?? harness.gateway.url
    const { page, faults } = await browser.open([origin, harness.gateway.simulator!.origin], options)
    page.setDefaultTimeout(TIMEOUT_MS)
    await page.goto(`${origin}${path.replace('KEY', harness.key)}`)
    return {
      harness,
      page,
      faults,
      image: harness.gateway.simulator!.sampleImage,
      async [Symbol.asyncDispose]() {
        await page.context().close()
        await harness[Symbol.asyncDispose]()
      },
    }
  }

  const card = (page: Page, text: string) => page.locator('.card', { hasText: text })

  async function fill(page: Page, image: string, prompt: string): Promise<void> {
    await page.getByLabel('Address of the image').fill(image)
    await page.getByLabel('Prompt', { exact: true }).fill(prompt)
  }

  const untilVideoPlays = (page: Page, text: string) =>
    until(
      () =>
        card(page, text)
          .locator('video')
          .evaluate((video: HTMLVideoElement) => !video.paused && video.currentTime > 0)
          .catch(() => false),
      TIMEOUT_MS,
    )

  test('leads from the key to a video that plays', async () => {
    await using visited = await openPage()
    const { harness, page, faults, image } = visited
    const asked: string[] = []
    page.on('request', request => asked.push(request.url()))
    const field = page.getByLabel('The key of your app')
    await field.fill('rsh_nobodys')
    await field.press('Enter')
    await page.getByRole('alert').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('not known here')

    await page.getByLabel('The key of your app').fill(harness.key)
    await page.getByRole('button', { name: 'Open' }).click()
    await page.getByText('Live', { exact: true }).waitFor()
    await page.getByText('No videos yet.').waitFor()
    await fill(page, image, 'a cat looks up sim:seconds=2')
    await page.getByAltText('The chosen image').waitFor()
    await page.getByRole('button', { name: 'Submit · $0.80' }).click()
    const made = card(page, 'a cat looks up')
    await made.getByRole('progressbar').waitFor()
    await made.getByText('Done').waitFor()
    await untilVideoPlays(page, 'a cat looks up')
    await page.locator('.account', { hasText: '$0.80' }).waitFor()
    await page.locator('.sums', { hasText: /1 submitted\s*1 finished\s*0 failed/ }).waitFor()
    expect(asked.filter(url => url.includes('rsh_'))).toEqual([])
    // Chromium itself logs a 401 as an error.
    expect(faults.filter(fault => !fault.includes('401'))).toEqual([])
  })

  test('sends no more requests with an invalid key, and says why a token cannot open the page', async () => {
    await using visited = await openPage()
    const { harness, page } = visited
    const asked: string[] = []
    page.on('request', request => {
      if (request.method() === 'POST') asked.push(request.headers().authorization ?? '')
    })
    for (const wrong of ['rsh_one', 'rsh_two']) {
      await page.getByLabel('The key of your app').fill(wrong)
      await page.keyboard.press('Enter')
      await page.getByRole('alert').waitFor()
    }
    await page.getByLabel('The key of your app').fill(await mintToken(harness, { permissions: ['SUBMIT'] }))
    await page.keyboard.press('Enter')
    await page.getByText('does not permit reading').waitFor()
    await page.getByLabel('The key of your app').fill(harness.key)
    await page.keyboard.press('Enter')
    await page.getByText('Live', { exact: true }).waitFor()
    // A failed request would be repeated after three seconds.
    await page.waitForTimeout(3500)
    for (const wrong of ['rsh_one', 'rsh_two'])
      expect(asked.filter(authorization => authorization === `Bearer ${wrong}`)).toHaveLength(1)
  })

  test('a double click and a key held down pay once; the same input later is another video', async () => {
    await using visited = await openPage('/#key=KEY')
    const { harness, page, faults, image } = visited
    await fill(page, image, 'paid once sim:seconds=0')
    await page.getByRole('button', { name: 'Submit' }).dblclick()
    await card(page, 'paid once').getByText('Done').waitFor()
    await page.getByLabel('Address of the image').focus()
    await page.waitForTimeout(1600)
    for (let n = 0; n < 20; n++) {
      await page.keyboard.down('Enter')
      await page.waitForTimeout(40)
    }
    await page.keyboard.up('Enter')
    await until(async () => (await card(page, 'paid once').count()) === 2, TIMEOUT_MS)
    const { data } = await harness.query('{ predictions { edges { node { id } } } }')
    expect(data.predictions.edges).toHaveLength(2)
    expect(faults).toEqual([])
  })

  test('keeps the focus after an action, and opens a section that hides an invalid field', async () => {
    await using visited = await openPage('/#key=KEY')
    const { page, faults, image } = visited
    await fill(page, image, 'to be canceled sim:seconds=60')
    await page.getByText('More', { exact: true }).click()
    await page.getByLabel('Seed').fill('99999999999')
    await page.getByText('More', { exact: true }).click()
    await page.getByRole('button', { name: 'Submit' }).click()
    await until(() => page.getByLabel('Seed').evaluate(seed => seed === document.activeElement))
    await page.getByLabel('Seed').fill('7')
    await page.getByRole('button', { name: 'Submit' }).click()
    const cancel = card(page, 'to be canceled').getByRole('button', { name: 'Cancel' })
    await cancel.focus()
    await page.keyboard.press('Enter')
    await card(page, 'to be canceled').getByRole('button', { name: 'Retry' }).waitFor()
    const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim())
    expect(await focused()).toBe('Retry · $0.80')
    expect(faults).toEqual([])
  })

  test('loads again after the gateway was away', async () => {
    await using network = await createFaultProxy()
    await using visited = await openPage('/#key=KEY', { network })
    const { harness, page, image } = visited
    await submit(harness, 'seen again sim:seconds=0', harness.key, { image: { url: image } })
    await card(page, 'seen again').getByText('Done').waitFor()
    await page.reload()
    await page.route('**/*.mp4', route => route.abort())
    await card(page, 'seen again').getByRole('button', { name: 'Play' }).click()
    await card(page, 'seen again').getByText('can’t be loaded now').waitFor()
    await page.unroute('**/*.mp4')
    network.setTarget(null)
    for (const link of network.connections) link.reset()
    await page.getByText('Offline').waitFor()
    network.setTarget(Number(new URL(harness.gateway.url).port))
    await page.getByText('Live', { exact: true }).waitFor()
    await card(page, 'seen again').locator('img').waitFor()
    await card(page, 'seen again').getByRole('button', { name: 'Play' }).click()
    await untilVideoPlays(page, 'seen again')
  })

  test('a link with another key replaces the key in use only if the user agrees', async () => {
    await using visited = await openPage('/#key=KEY')
    const { harness, page, faults } = visited
    await page.getByText('Live', { exact: true }).waitFor()
    const other = await harness.gateway.issueKey('other', 60_000)
    const questions: string[] = []
    for (const agrees of [false, true]) {
      page.once('dialog', async dialog => {
        questions.push(dialog.message())
        await (agrees ? dialog.accept() : dialog.dismiss())
      })
      await page.evaluate(key => {
        location.hash = `key=${key}`
      }, other)
      await until(() => questions.length === (agrees ? 2 : 1), TIMEOUT_MS)
      await page.locator('.app', { hasText: agrees ? 'other' : 'test' }).waitFor()
      expect(page.url()).not.toContain('key')
    }
    expect(faults).toEqual([])
  })

  test('removes the key from the URL, shows it nowhere, and still has it after a reload', async () => {
    await using visited = await openPage('/?status=FAILED#key=KEY')
    const { page, faults, harness } = visited
    await page.getByText('Live', { exact: true }).waitFor()
    expect(page.url()).toBe(`${harness.gateway.url}/?status=FAILED`)
    await page.reload()
    await page.getByText('Live', { exact: true }).waitFor()
    await page.getByText('Nothing of that kind.').waitFor()
    await page.getByRole('button', { name: 'Forget key' }).click()
    await page.getByLabel('The key of your app').waitFor()
    await page.reload()
    await page.getByLabel('The key of your app').waitFor()
    expect(faults).toEqual([])
  })

  test('continues after a restart of the gateway, and shows that it is offline meanwhile', async () => {
    await using visited = await openPage('/#key=KEY')
    const { harness, page } = visited
    await page.getByText('Live', { exact: true }).waitFor()
    const { sampleImage } = harness.gateway.simulator!
    await submit(harness, 'a long one sim:seconds=6', harness.key, { image: { url: sampleImage } })
    await card(page, 'a long one').getByText('Running').waitFor()
    await page.evaluate(() => Object.assign(window, { wasHere: true }))
    const restarted = harness.restart()
    await page.getByText('Offline').waitFor()
    await restarted
    await page.getByText('Live', { exact: true }).waitFor()
    await untilVideoPlays(page, 'a long one')
    expect(await page.evaluate(() => 'wasHere' in window)).toBe(true)
  })

  test('misses no event that happened while its connection was down', async () => {
    await using network = await createFaultProxy()
    await using visited = await openPage('/#key=KEY', { network })
    const { harness, page, image } = visited
    await page.getByText('Live', { exact: true }).waitFor()
    const ask = (prompt: string) => submit(harness, prompt, harness.key, { image: { url: image } })
    await ask('before sim:seconds=3')
    await card(page, 'before').getByText('Running').waitFor()
    network.setTarget(null)
    for (const link of network.connections) link.reset()
    await page.getByText('Offline').waitFor()
    await ask('meanwhile sim:seconds=0 sim:fail=1200')
    const list = '{ predictions(filter: { statuses: [COMPLETED, FAILED] }) { edges { node { id } } } }'
    await until(async () => (await harness.query(list)).data.predictions.edges.length === 2, TIMEOUT_MS)
    expect(await page.locator('.card').count()).toBe(1)
    network.setTarget(Number(new URL(harness.gateway.url).port))
    await page.getByText('Live', { exact: true }).waitFor()
    await card(page, 'meanwhile').getByText('Failed').waitFor()
    await card(page, 'before').getByText('Done').waitFor()
    await untilVideoPlays(page, 'before')
  })

  test('says in words why a job failed, and retries it', async () => {
    await using visited = await openPage('/#key=KEY')
    const { page, faults, image } = visited
    await fill(page, image, 'something sim:seconds=0 sim:fail=1200')
    await page.getByRole('button', { name: 'Submit' }).click()
    const failed = card(page, 'something').filter({ hasText: 'Failed' })
    await failed.getByText('content moderation').waitFor()
    await failed.getByText('$0.00').waitFor()
    await failed.getByRole('button', { name: 'Retry · $0.80' }).click()
    await until(async () => (await failed.count()) === 2, TIMEOUT_MS)
    expect(faults).toEqual([])
  })

  test('uploads a file, shows it, and sends it', async () => {
    await using visited = await openPage('/#key=KEY')
    const { page, faults } = visited
    await page.locator('input[type=file]').setInputFiles(SAMPLE)
    await page.getByAltText('The chosen image').waitFor()
    await page.getByLabel('Prompt', { exact: true }).fill('out of a file sim:seconds=2')
    await page.getByRole('button', { name: 'Submit' }).click()
    const picture = card(page, 'out of a file').locator('img')
    await picture.waitFor()
    expect(new URL((await picture.getAttribute('src'))!).pathname).toMatch(/^\/uploads\//)
    await until(
      () => picture.evaluate((image: HTMLImageElement) => image.complete && image.naturalWidth > 0),
      TIMEOUT_MS,
    )
    await untilVideoPlays(page, 'out of a file')
    expect(faults).toEqual([])
  })

  test('shows an error beside its field, and keeps the input', async () => {
    await using visited = await openPage('/#key=KEY')
    const { page, faults, image } = visited
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'cat.png', mimeType: 'image/png', buffer: Buffer.from('no picture at all') })
    await page.getByText('can’t be shown as a picture').waitFor()
    await page.getByLabel('Prompt', { exact: true }).fill('a cat')
    await page.getByRole('button', { name: 'Submit' }).click()
    await page.locator('.image .error').waitFor()
    await page.getByRole('button', { name: 'Remove' }).click()
    await fill(page, image, 'a cat')
    await page.getByText('More', { exact: true }).click()
    await page.getByLabel('Tags', { exact: true }).fill('1,2,3,4,5,6,7,8,9,10,11')
    await page.getByRole('button', { name: 'Submit' }).click()
    await page.locator('#tags-fault').waitFor()
    expect(await page.getByLabel('Tags', { exact: true }).getAttribute('aria-invalid')).toBe('true')
    expect(await page.getByLabel('Prompt', { exact: true }).inputValue()).toBe('a cat')
    // Chromium logs an error for a file that is not an image.
    expect(faults.filter(fault => !fault.includes('blob:'))).toEqual([])
  })

  test('shows queue positions as they change, cancels, and filters', async () => {
    await using visited = await openPage('/#key=KEY', { env: { UPSTREAM_CONCURRENCY: '1' } })
    const { harness, page, faults, image } = visited
    const ask = (prompt: string, tags: string[]) =>
      submit(harness, prompt, harness.key, { image: { url: image }, tags })
    await ask('first sim:seconds=4', ['odd'])
    await card(page, 'first').getByText('Running').waitFor()
    await ask('second sim:seconds=60', ['even'])
    await ask('third sim:seconds=60', ['odd'])
    await card(page, 'second')
      .getByText(/no\. 1 in the queue · 0:\d\d/)
      .waitFor()
    await card(page, 'third').getByText('no. 2 in the queue').waitFor()
    await card(page, 'first').getByText('Done').waitFor()
    await card(page, 'third')
      .getByText(/no\. 1 in the queue · 0:\d\d/)
      .waitFor()
    await card(page, 'third').getByRole('button', { name: 'Cancel' }).click()
    await card(page, 'third').getByText('Canceled').waitFor()

    await page.getByRole('button', { name: 'Done' }).click()
    await until(async () => (await page.locator('.card').count()) === 1)
    await page.reload()
    await until(async () => (await page.locator('.card').count()) === 1)
    expect(await page.getByRole('button', { name: 'Done' }).getAttribute('aria-pressed')).toBe('true')
    await page.getByRole('button', { name: 'All' }).click()
    await until(async () => (await page.locator('.card').count()) === 3)
    await page.getByLabel('Only with tags').fill('odd')
    await page.keyboard.press('Enter')
    await until(async () => (await page.locator('.card').count()) === 2)
    // Later events are filtered, too.
    await ask('fourth', ['even'])
    await ask('fifth', ['odd'])
    await card(page, 'fifth').waitFor()
    expect(await card(page, 'fourth').count()).toBe(0)
    expect(faults).toEqual([])
  })

  test.each(['light', 'dark'] as const)(
    'has no accessibility violation in a %s theme, on a desktop and on a phone',
    async colorScheme => {
      await using visited = await openPage('/', { page: { colorScheme } })
      const { harness, page, faults, image } = visited
      const found: string[] = []
      const checkAccessibility = async (where: string) => {
        await page.evaluate(axe.source)
        const { violations } = await page.evaluate(() =>
          (globalThis as unknown as { axe: typeof axe }).axe.run(),
        )
        found.push(
          ...violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map(node => node.html).join(' ')}`),
        )
      }
      await checkAccessibility('key prompt')
      // Only the keyboard is used.
      await page.keyboard.type(harness.key)
      await page.keyboard.press('Enter')
      await page.getByText('Live', { exact: true }).waitFor()
      for (const words of ['sim:seconds=0', 'sim:seconds=0 sim:fail=1200', 'sim:seconds=60'])
        await submit(harness, words, harness.key, { image: { url: image }, tags: ['spring'] })
      await card(page, 'sim:seconds=60').getByText('Running').waitFor()
      await card(page, 'sim:fail').getByText('Failed').waitFor()
      await page.getByText('More', { exact: true }).click()
      await checkAccessibility('desktop')
      await page.setViewportSize({ width: 360, height: 740 })
      await checkAccessibility('phone')
      const width = await page.evaluate(() => document.documentElement.scrollWidth)
      expect(width).toBeLessThanOrEqual(360)
      expect(found).toEqual([])
      expect(faults).toEqual([])
    },
  )
})
