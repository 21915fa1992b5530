/**
 * The paths of the server, and what answers each.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { UPLOAD_PATH } from '../../domain/upload.ts'
import type { Metrics } from '../../observability/metrics.ts'
import { WEBHOOK_PATH } from '../../upstream/webhook-url.ts'
import { GRAPHQL_PATH } from '../operation/operation.ts'
import { isMultipart } from '../uploads/multipart-parser.ts'
import type { UploadPreviews } from '../uploads/upload-preview.ts'
import type { DashboardAssets } from '../web/dashboard-assets.ts'
import { GRAPHIQL_ASSETS_PATH, type Graphiql } from '../web/graphiql.ts'
import type { GraphqlEndpoint } from './graphql-endpoint.ts'
import type { Health } from './health.ts'
import type { WebhookEndpoint } from './webhook-endpoint.ts'

export interface Route {
  /** @param address the client's IP address */
  answer(request: IncomingMessage, response: ServerResponse, address: string, path: string): unknown
  /** Methods that are answered; others get 405. Missing: `answer` decides. */
  methods?: readonly string[]
  /** Health checks and scrapes of metrics are not limited by their address: they matter most under load. */
  bypassesRateLimit?(request: IncomingMessage): boolean
  /** Pages of other origins may call it. */
  hasCors?: true
  /** The body is a form with a file: it has more time, and the connection closes if it is not read. */
  isForm?: true
}

export interface RouteHandlers {
  graphqlEndpoint: GraphqlEndpoint
  graphiql: Graphiql
  webhookEndpoint: WebhookEndpoint
  uploadPreviews: UploadPreviews
  health: Health
  metrics: Metrics
  dashboardAssets: DashboardAssets
}

export type ChooseRoute = (request: IncomingMessage, path: string) => Route

const GET = ['GET', 'HEAD']

export function createRoutes(handlers: RouteHandlers): ChooseRoute {
  const { graphqlEndpoint, graphiql, webhookEndpoint, uploadPreviews, health, metrics, dashboardAssets } =
    handlers
  const bypassesRateLimit = () => true
  const operation: Route = { answer: graphqlEndpoint.answerOperation, hasCors: true }
  const form: Route = { answer: graphqlEndpoint.answerForm, hasCors: true, isForm: true }
  const graphiqlPage: Route = { answer: graphiql.sendPage, hasCors: true }
  const graphiqlAsset: Route = {
    methods: GET,
    answer: (request, response, _, path) => graphiql.sendAsset(request, response, path),
  }
  const uploadPreview: Route = {
    methods: GET,
    answer: (request, response, _, path) => uploadPreviews(request, response, path),
  }
  const page: Route = {
    methods: GET,
    async answer(request, response, _, path) {
      if (await dashboardAssets(request, response, path)) return
      sendText(response, 404, `There is nothing here. The dashboard is at /, the API at ${GRAPHQL_PATH}.`)
    },
  }
  const byPath = new Map<string, Route>([
    [
      WEBHOOK_PATH,
      { answer: (request, response) => webhookEndpoint(request, response, getWebhookToken(request)) },
    ],
    ['/health/live', { methods: GET, bypassesRateLimit, answer: (_, response) => health.live(response) }],
    ['/health/ready', { methods: GET, bypassesRateLimit, answer: (_, response) => health.ready(response) }],
    ['/metrics', { methods: GET, bypassesRateLimit: metrics.mayRead, answer: metrics.respond }],
  ])

  return (request, path) => {
    if (path === GRAPHQL_PATH) {
      if (request.method === 'POST') return isMultipart(request) ? form : operation
      return graphiql.isPageRequest(request) ? graphiqlPage : operation
    }
    if (path.startsWith(GRAPHIQL_ASSETS_PATH)) return graphiqlAsset
    if (path.startsWith(UPLOAD_PATH)) return uploadPreview
    return byPath.get(path) ?? page
  }
}

/** Token in the query of a webhook's URL. */
const getWebhookToken = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

export const sendText = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
