import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import type { HttpRequest } from '../../../src/server/http/http-request.ts'
import { matchesRoute } from '../../../src/server/http/http-server.ts'
import { createRoutes, type RouteHandlers } from '../../../src/server/http/routes.ts'

/** Handlers that return their own name. */
const handler = (name: string) => () => name
const routes = createRoutes({
  graphqlEndpoint: { answerOperation: handler('operation'), answerForm: handler('form') },
  graphiql: {
    isPageRequest: ({ headers }: IncomingMessage) => headers.accept === 'text/html',
    sendPage: handler('graphiql page'),
    sendAsset: handler('graphiql asset'),
  },
  webhookEndpoint: handler('webhook'),
  uploadPreviews: handler('preview'),
  health: { live: handler('live'), ready: handler('ready') },
  metrics: { mayRead: () => true, respond: handler('metrics') },
  dashboardAssets: async () => 'page',
} as unknown as RouteHandlers)

const chooseRoute = (request: IncomingMessage, path: string) =>
  routes.find(route => matchesRoute(route, request, path))!

const CLIENT = { network: '127.0.0.1', isForwarded: false }
const FORM = { 'content-type': 'Multipart/Form-Data; boundary=x' }
const PAGE = { accept: 'text/html' }

test.each<[method: string, path: string, headers: object, answer: string]>([
  ['POST', '/graphql', { 'content-type': 'application/json' }, 'operation'],
  ['POST', '/graphql', { 'content-type': 'multipart/form-data-x' }, 'operation'],
  ['POST', '/graphql', PAGE, 'operation'],
  ['POST', '/graphql', FORM, 'form'],
  ['GET', '/graphql', FORM, 'operation'],
  ['GET', '/graphql', PAGE, 'graphiql page'],
  ['OPTIONS', '/graphql', {}, 'operation'],
  ['POST', '/webhooks/wavespeed', FORM, 'webhook'],
  ['GET', '/health/live', {}, 'live'],
  ['GET', '/health/ready', {}, 'ready'],
  ['GET', '/metrics', {}, 'metrics'],
  ['GET', '/assets/graphiql/1/graphiql.js', {}, 'graphiql asset'],
  ['GET', '/uploads/x', {}, 'preview'],
  ['GET', '/', {}, 'page'],
  ['GET', '/health/else', {}, 'page'],
  ['GET', '/graphql/', {}, 'page'],
  ['OPTIONS', '*', {}, 'page'],
])('%s %s with %j is answered by the %s', async (method, path, headers, answer) => {
  const request = { method, headers } as HttpRequest
  const route = chooseRoute(request, path)
  expect(await route.answer(request, {} as never, CLIENT, path)).toBe(answer)
})

test('pages of other origins reach the API only, and only GET is answered elsewhere', () => {
  const route = (path: string) => chooseRoute({ method: 'POST', headers: {} } as IncomingMessage, path)
  const paths = ['/graphql', '/webhooks/wavespeed', '/health/ready', '/metrics', '/uploads/x', '/']
  expect(paths.filter(path => route(path).hasCors)).toEqual(['/graphql'])
  expect(paths.filter(path => route(path).allowedMethods === undefined)).toEqual([
    '/graphql',
    '/webhooks/wavespeed',
  ])
  expect(paths.filter(path => route(path).bypassesRateLimit !== undefined)).toEqual([
    '/health/ready',
    '/metrics',
  ])
})
