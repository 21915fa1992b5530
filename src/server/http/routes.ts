/**
 * The table of routes: which handler answers which request.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { UPLOAD_PATH } from '../../domain/upload.ts'
import type { Metrics } from '../../observability/metrics.ts'
import { WEBHOOK_PATH } from '../../upstream/webhook-url.ts'
import { GRAPHQL_PATH } from '../operation/operation.ts'
import type { UploadPreviews } from '../uploads/upload-preview.ts'
import type { DashboardAssets } from '../web/dashboard-assets.ts'
import { GRAPHIQL_ASSETS_PATH, type Graphiql } from '../web/graphiql.ts'
import type { ClientOrigin } from './client-network.ts'
import type { GraphqlEndpoint } from './graphql-endpoint.ts'
import type { Health } from './health.ts'
import type { HttpRequest } from './http-request.ts'
import type { WebhookEndpoint } from './webhook-endpoint.ts'

export interface Route {
  /** A whole path, or with a `*` at its end the start of one. */
  path: string
  /** Only requests with this method. */
  method?: string
  /** Only requests with this media type of their body. */
  mediaType?: string
  /** Only requests for which this holds. */
  isFor?(request: IncomingMessage): boolean
  answer(request: HttpRequest, response: ServerResponse, client: ClientOrigin, path: string): unknown
  /** Methods that are answered; others get 405. Missing: `answer` decides. */
  allowedMethods?: readonly string[]
  /** Health checks and scrapes of metrics are not limited by their network: they matter most under load. */
  bypassesRateLimit?(request: IncomingMessage): boolean
  /** Pages of other origins may call it. */
  hasCors?: true
  /** The body is a form with a file, so it has more time. */
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

const GET = ['GET', 'HEAD']

/** A request is answered by the first route that it matches. The last one matches every request. */
export function createRoutes(handlers: RouteHandlers): readonly Route[] {
  const { graphqlEndpoint, graphiql, webhookEndpoint, uploadPreviews, health, metrics, dashboardAssets } =
    handlers
  const bypassesRateLimit = () => true
  return [
    {
      path: GRAPHQL_PATH,
      method: 'POST',
      mediaType: 'multipart/form-data',
      isForm: true,
      hasCors: true,
      answer: graphqlEndpoint.answerForm,
    },
    { path: GRAPHQL_PATH, method: 'POST', hasCors: true, answer: graphqlEndpoint.answerOperation },
    { path: GRAPHQL_PATH, isFor: graphiql.isPageRequest, hasCors: true, answer: graphiql.sendPage },
    { path: GRAPHQL_PATH, hasCors: true, answer: graphqlEndpoint.answerOperation },
    {
      path: WEBHOOK_PATH,
      answer: (request, response, { network }) =>
        webhookEndpoint(request, response, network, getWebhookToken(request)),
    },
    {
      path: `${GRAPHIQL_ASSETS_PATH}*`,
      allowedMethods: GET,
      answer: (request, response, _, path) => graphiql.sendAsset(request, response, path),
    },
    {
      path: `${UPLOAD_PATH}*`,
      allowedMethods: GET,
      answer: (request, response, _, path) => uploadPreviews(request, response, path),
    },
    {
      path: '/health/live',
      allowedMethods: GET,
      bypassesRateLimit,
      answer: (_, response) => health.live(response),
    },
    {
      path: '/health/ready',
      allowedMethods: GET,
      bypassesRateLimit,
      answer: (_, response) => health.ready(response),
    },
    { path: '/metrics', allowedMethods: GET, bypassesRateLimit: metrics.mayRead, answer: metrics.respond },
    {
      path: '*',
      allowedMethods: GET,
      answer: async (request, response, _, path) =>
        (await dashboardAssets(request, response, path)) || sendText(response, 404, NOTHING_HERE),
    },
  ]
}

const NOTHING_HERE = `There is nothing here. The dashboard is at /, the API at ${GRAPHQL_PATH}.`

/** Token in the query of a webhook's URL. */
const getWebhookToken = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

export const sendText = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
