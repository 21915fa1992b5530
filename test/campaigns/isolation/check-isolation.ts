/**
 * Checks isolation: at each probe and over each transport one observer requests a value of the target and the other a
 * nonexistent one.
 * Reports differences between the two answers, leaked secrets and unreached fields.
 */
import type { GraphQLSchema } from 'graphql'
import { encodeId } from '../../../src/graphql/global-id.ts'
import {
  type Exchange,
  type Received,
  TRANSPORT_CLIENTS,
  type TransportClient,
} from '../../support/transports.ts'
import { until } from '../../support/until.ts'
import { JPEG } from '../../support/upload.ts'
import { createProbes, fieldsReturningIds, type Probe } from './probes.ts'
import type { IsolationScenario, Replacements, SecretValue, ValuePair } from './scenario.ts'

export interface IsolationReport {
  breaches: string[]
  probeCount: number
  requestCount: number
}

const INVALID_IDS = ['', 'garbage', encodeId('Nothing', 'x'), 'x'.repeat(5000), '\u0000\u2028']

const ALL_PROBES = /^/

interface ComparisonContext {
  secrets: readonly string[]
  /** The replacements of each observer. */
  replacements: readonly Replacements[]
}

export async function checkIsolation(
  schema: GraphQLSchema,
  scenario: IsolationScenario,
  nameFilter = ALL_PROBES,
): Promise<IsolationReport> {
  const probes = createProbes(schema).filter(({ name }) => nameFilter.test(name))
  const report: IsolationReport = { breaches: [], probeCount: probes.length, requestCount: 0 }
  const reached = new Set<string>()
  await using connections = new AsyncDisposableStack()
  const transports = []
  for (const [transport, connect] of TRANSPORT_CLIENTS) {
    const clients = scenario.observers.map(async ({ key }) =>
      connections.use(await connect(scenario.harness, key)),
    )
    transports.push([transport, await Promise.all(clients)] as const)
  }
  // Mutations run last: they leave probed values behind.
  for (const probe of probes)
    for (const [transport, clients] of transports) {
      // A WebSocket carries no file.
      if (transport === 'WebSocket' && needsFile(probe)) continue
      const location = `${transport}, ${probe.name}`
      const valuePairs = valuePairsFor(probe, scenario)
      const answerPairs = await sendAll(probe, valuePairs, clients, scenario)
      const context = {
        secrets: scenario.secrets(),
        replacements: scenario.observers.map(scenario.replacementsFor),
      }
      for (const [i, answerPair] of answerPairs.entries()) {
        const { label } = valuePairs[i]!
        const { breaches, returnedFields, isReached } = compareAnswers(
          probe,
          valuePairs[i]!,
          answerPair,
          context,
        )
        report.requestCount += 2
        if (isReached) reached.add(probe.field)
        for (const field of returnedFields) reached.add(field)
        report.breaches.push(...breaches.map(breach => `${location}, asked for ${label}: ${breach}`))
      }
      if (scenario.hasTargetChanged())
        return { ...report, breaches: [...report.breaches, `${location}: the target's rows changed`] }
    }
  const fields = [...probes.map(({ field }) => field), ...fieldsReturningIds(schema)]
  for (const field of nameFilter === ALL_PROBES ? fields : [])
    if (!reached.has(field)) report.breaches.push(`${field}: never reached, so not checked`)
  return report
}

function valuePairsFor(
  { scalar }: Probe,
  { predictionIds, otherSecrets, ownValues }: IsolationScenario,
): ValuePair[] {
  if (scalar === null) return [{ label: 'nothing', values: ['', ''], differsInLength: false }]
  const [firstId] = predictionIds
  const equalLengthPair = ({ label, existing, nonexistent }: SecretValue): ValuePair => ({
    label,
    values: [existing, nonexistent],
    differsInLength: false,
  })
  const unequalLengthPair = (label: string, value: string): ValuePair => ({
    label,
    values: [value, firstId!.nonexistent],
    differsInLength: true,
  })
  const valuePairs = [...ownValues, ...[firstId!, ...otherSecrets].map(equalLengthPair)]
  if (scalar !== 'ID') return valuePairs
  return [
    ...valuePairs,
    ...predictionIds.slice(1).map(equalLengthPair),
    // A malformed id, and an id of another type, look like a nonexistent one.
    ...INVALID_IDS.map(text => unequalLengthPair(`garbage (${text.slice(0, 20)})`, text)),
    ...otherSecrets.map(({ label, existing }) => unequalLengthPair(`${label}, as an id`, existing)),
  ]
}

type AnswerPair = readonly [Received, Received]

const needsFile = ({ document }: Probe) => document.includes('$file')

async function sendAll(
  probe: Probe,
  valuePairs: readonly ValuePair[],
  clients: readonly TransportClient[],
  scenario: IsolationScenario,
): Promise<AnswerPair[]> {
  const { kind, document, scalar } = probe
  const send = (i: 0 | 1, { values }: ValuePair): Promise<Exchange> => {
    const own = encodeId('Prediction', scenario.observers[i].predictions.FAILED.id)
    const file = needsFile(probe) ? JPEG : undefined
    return clients[i]!.send({
      query: document,
      variables: { own, ...(scalar && { asked: values[i] }) },
      file,
    })
  }
  const pending: [Exchange, Exchange][] = []
  for (const valuePair of valuePairs) {
    const requests = await Promise.all([send(0, valuePair), send(1, valuePair)])
    pending.push(requests)
    // Mutations run one after the other.
    if (kind === 'mutation') await Promise.all(requests.map(({ ended }) => ended))
  }
  const all = pending.flat()
  // A feed answers at once with its start.
  await until(() =>
    all.every(
      ({ received }) => received.isEnded || (kind === 'subscription' && received.messages.length > 0),
    ),
  )
  const openPairs = () => pending.filter(requests => requests.some(({ received }) => !received.isEnded))
  if (openPairs().length > 0) {
    const feeds = await Promise.all(clients.map(client => client.send({ query: FEED, variables: {} })))
    await until(() => feeds.every(({ received }) => received.messages.length > 0))
    for (let event = 1; event <= 2; event++) {
      for (const tenant of [scenario.target, ...scenario.observers]) await scenario.submit(tenant)
      await until(() => feeds.every(({ received }) => received.messages.length > event))
    }
    // Every delivery has happened by now. `compareAnswers` finds a surplus one.
    const haveSameCount = () =>
      openPairs().every(
        ([first, second]) => first.received.messages.length === second.received.messages.length,
      )
    await until(haveSameCount, 2000).catch(() => {})
    await Promise.all([...feeds, ...openPairs().flat()].map(({ end }) => end()))
  }
  return pending.map(([first, second]) => [first.received, second.received])
}

const FEED = 'subscription { predictionFeed { __typename } }'

function compareAnswers(
  probe: Probe,
  valuePair: ValuePair,
  answerPair: AnswerPair,
  { secrets, replacements }: ComparisonContext,
) {
  const breaches: string[] = []
  const texts = answerPair.map((answer, i) => redactValue(JSON.stringify(answer), valuePair.values[i]!))
  for (const text of texts)
    for (const secret of secrets)
      if (text.includes(secret)) breaches.push(`it reveals "${secret}": ${excerpt(text, secret)}`)
  const [first, second] = texts.map((text, i) => normalize(text, replacements[i]!, valuePair.differsInLength))
  if (first !== second) breaches.push(describeDifference(first!, second!))
  for (const { messages } of answerPair) {
    const text = messages.join('')
    if (INVALID_REQUEST.test(text)) breaches.push(`the request was invalid: ${text.slice(0, 300)}`)
  }
  const { messages } = answerPair[1]
  const isNested = probe.name.includes(' > ')
  const returnedFields = [...messages.join('').matchAll(/"(\w+)_(\w+)":(?!null|\[\])/g)].map(
    ([, type, field]) => `${type}.${field}`,
  )
  return {
    breaches,
    returnedFields,
    isReached: isNested ? messages.some(text => text.includes('"reached"')) : messages.length > 0,
  }
}

/** Matches errors other than those whose codes reveal nothing about the probed value. */
const INVALID_REQUEST =
  /"extensions":\{"code":"(?!NOT_FOUND|BAD_ARGUMENT|INVALID_INPUT|IDEMPOTENCY_CONFLICT|ALREADY_FINISHED)|"message":"(Syntax Error|Cannot query|Unknown|Field|Variable)/

/** The probed value may be echoed. */
function redactValue(text: string, value: string): string {
  // JSON within JSON.
  const written = JSON.stringify(JSON.stringify(value).slice(1, -1)).slice(1, -1)
  return value === '' ? text : text.replaceAll(written, '<asked>')
}

/** Removes the texts that are unique to the observer or to the moment. */
function normalize(text: string, replacements: Replacements, differsInLength: boolean): string {
  let normalized = text
  for (const [own, name] of replacements) normalized = normalized.replaceAll(own, name)
  normalized = normalized
    .replace(/[\w-]+\.[\w-]{20,}\.[\w-]{40,}/g, '<token>')
    .replace(/(?<=")[\w-]{22}(?=\\*")|(?<=\bid: )[\w-]{22}(?=\\n)/g, '<cursor>')
    .replace(/(?<=queuePosition\\*":)\d+/g, '<position>')
  return differsInLength ? normalized.replace(/content-length[\\"]+,[\\"]+\d+/, '<length>') : normalized
}

const excerpt = (text: string, part: string) => {
  const index = text.indexOf(part)
  return text.slice(Math.max(0, index - 150), index + 80)
}

function describeDifference(a: string, b: string): string {
  let index = 0
  while (a[index] === b[index]) index++
  const from = Math.max(0, index - 120)
  return `the answer differs from the one for a nonexistent value:\n    ${a.slice(from, index + 160)}\n    ${b.slice(from, index + 160)}`
}
