import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { resolve } from 'node:path'
import { Agent, fetch } from 'undici'
import { expect, test } from 'vitest'
import { emptyFolder } from '../support/process.ts'
import { until } from '../support/until.ts'

const SUBMIT = `mutation ($url: URL!) {
  submitVideo(input: { image: { url: $url }, prompt: "x sim:seconds=0.1" }) { __typename }
}`

test('with 256 descriptors a gateway takes 128 connections, says so, and finishes jobs while they are open', async () => {
  await using folder = await emptyFolder()
  const command = `ulimit -n 256; exec "${process.execPath}" "${resolve('src/start.js')}"`
  const env = { PATH: process.env.PATH ?? '', PORT: '0' }
  const child = spawn('sh', ['-c', command], { cwd: folder.path, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  const agent = new Agent({ connections: 1 })
  try {
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', data => {
        output += data
      })
    const [, endpoint] = await until(() => /GraphQL {3}(\S+)/.exec(output))
    const [, image] = await until(() => /Image {5}(\S+)/.exec(output))
    const [, key] = await until(() => /Key {7}(\S+)/.exec(output))
    const warning =
      /"maxConnections":128,"configured":20000,"descriptorLimit":256,"msg":"MAX_CONNECTIONS is lowered/
    await until(() => warning.test(output))

    const query = async (document: string, variables = {}) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` }
      const body = JSON.stringify({ query: document, variables })
      const response = await fetch(endpoint!, { method: 'POST', headers, body, dispatcher: agent })
      return response.text()
    }
    await query('{ __typename }')
    const sockets = Array.from({ length: 300 }, () => connect(Number(new URL(endpoint!).port), '127.0.0.1'))
    for (const socket of sockets) socket.on('error', () => {})
    await until(() => sockets.filter(({ closed }) => closed).length === 300 - 127)

    const health = await fetch(new URL('/health/ready', endpoint!), { dispatcher: agent })
    expect(await health.json()).toMatchObject({ status: 'ready', maxConnections: 128 })
    const metrics = await (await fetch(new URL('/metrics', endpoint!), { dispatcher: agent })).text()
    expect(metrics).toContain('rushes_max_connections 128\n')
    expect(metrics).toContain('rushes_connections 128\n')
    expect(metrics).toContain('rushes_dropped_connections_total 173\n')
    expect(output.match(/new connections are closed at once/g)).toHaveLength(1)

    expect(await query(SUBMIT, { url: image })).toContain('SubmitVideoPayload')
    await until(async () =>
      (await query('{ predictions { edges { node { status } } } }')).includes('COMPLETED'),
    )
    expect(output).not.toContain('EMFILE')
    for (const socket of sockets) socket.destroy()
  } finally {
    await agent.destroy()
    child.kill('SIGKILL')
    await ended
  }
})
