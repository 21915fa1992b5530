/**
 * The walk: at each place, over each transport, one app asks of what a stranger has and its twin of what never was.
 * Answers with what either could tell the two apart by, what of the stranger's came along, and what was not reached.
 */
import type { GraphQLSchema } from 'graphql'
import { encodeId } from '../../../src/graphql/global-id.ts'
import { type Asked, type Asker, DOORS, type Heard } from '../../support/doors.ts'
import { until } from '../../support/until.ts'
import { JPEG } from '../../support/upload.ts'
import { type Place, placesOf, yieldsOf } from './places.ts'
import type { Names, Question, Scene, Stake } from './scene.ts'

export interface Walked {
  found: string[]
  places: number
  asked: number
}

const GARBAGE = ['', 'garbage', encodeId('Nothing', 'x'), 'x'.repeat(5000), '\u0000\u2028']

const EVERYTHING = /^/

interface Sights {
  secrets: readonly string[]
  /** Of each asker. */
  names: readonly Names[]
}

export async function walk(schema: GraphQLSchema, scene: Scene, only = EVERYTHING): Promise<Walked> {
  const places = placesOf(schema).filter(({ name }) => only.test(name))
  const walked: Walked = { found: [], places: places.length, asked: 0 }
  const reached = new Set<string>()
  await using connections = new AsyncDisposableStack()
  const doors = []
  for (const [door, connect] of DOORS) {
    const askers = scene.askers.map(async ({ key }) => connections.use(await connect(scene.harness, key)))
    doors.push([door, await Promise.all(askers)] as const)
  }
  // Mutations come last: what they leave behind has in it what was asked.
  for (const place of places)
    for (const [door, askers] of doors) {
      // No file goes through it.
      if (door === 'WebSocket' && takesFile(place)) continue
      const named = `${door}, ${place.name}`
      const questions = questionsFor(place, scene)
      const pairs = await putAll(place, questions, askers, scene)
      const sights = { secrets: scene.secrets(), names: scene.askers.map(scene.namesOf) }
      for (const [i, pair] of pairs.entries()) {
        const { what } = questions[i]!
        const { found, yielded, isReached } = judge(place, questions[i]!, pair, sights)
        walked.asked += 2
        if (isReached) reached.add(place.field)
        for (const field of yielded) reached.add(field)
        walked.found.push(...found.map(fault => `${named}, asked for ${what}: ${fault}`))
      }
      if (scene.isTouched())
        return { ...walked, found: [...walked.found, `${named}: it changes what is theirs`] }
    }
  const fields = [...places.map(({ field }) => field), ...yieldsOf(schema)]
  for (const field of only === EVERYTHING ? fields : [])
    if (!reached.has(field)) walked.found.push(`${field}: never reached, so nothing is known of it`)
  return walked
}

function questionsFor({ scalar }: Place, { ids, others, owns }: Scene): Question[] {
  if (scalar === null) return [{ what: 'nothing', values: ['', ''], uneven: false }]
  const [one] = ids
  const even = ({ what, theirs, nothing }: Stake): Question => ({
    what,
    values: [theirs, nothing],
    uneven: false,
  })
  const uneven = (what: string, value: string): Question => ({
    what,
    values: [value, one!.nothing],
    uneven: true,
  })
  const questions = [...owns, ...[one!, ...others].map(even)]
  if (scalar !== 'ID') return questions
  return [
    ...questions,
    ...ids.slice(1).map(even),
    // What is no id at all looks like one that never was, and so does what is an id of something else.
    ...GARBAGE.map(text => uneven(`garbage (${text.slice(0, 20)})`, text)),
    ...others.map(({ what, theirs }) => uneven(`${what}, as an id`, theirs)),
  ]
}

type Pair = readonly [Heard, Heard]

const takesFile = ({ document }: Place) => document.includes('$file')

async function putAll(
  place: Place,
  questions: readonly Question[],
  askers: readonly Asker[],
  scene: Scene,
): Promise<Pair[]> {
  const { kind, document, scalar } = place
  const put = (i: 0 | 1, { values }: Question): Promise<Asked> => {
    const own = encodeId('Prediction', scene.askers[i].own.FAILED.id)
    const file = takesFile(place) ? JPEG : undefined
    return askers[i]!.ask({ query: document, variables: { own, ...(scalar && { asked: values[i] }) }, file })
  }
  const asked: [Asked, Asked][] = []
  for (const question of questions) {
    const pair = await Promise.all([put(0, question), put(1, question)])
    asked.push(pair)
    // What leaves something behind is asked one after the other.
    if (kind === 'mutation') await Promise.all(pair.map(({ ended }) => ended))
  }
  const all = asked.flat()
  // A feed says at once where it begins.
  await until(() =>
    all.every(({ heard }) => heard.ended || (kind === 'subscription' && heard.told.length > 0)),
  )
  const open = () => asked.filter(pair => pair.some(({ heard }) => !heard.ended))
  if (open().length > 0) {
    const feeds = await Promise.all(askers.map(asker => asker.ask({ query: FEED, variables: {} })))
    await until(() => feeds.every(({ heard }) => heard.told.length > 0))
    for (let event = 1; event <= 2; event++) {
      for (const party of [scene.rich, ...scene.askers]) await scene.submit(party)
      await until(() => feeds.every(({ heard }) => heard.told.length > event))
    }
    // Whoever is told at all has been told by now; who was told more is found out by the judge.
    const same = () => open().every(([{ heard }, twin]) => heard.told.length === twin.heard.told.length)
    await until(same, 2000).catch(() => {})
    await Promise.all([...feeds, ...open().flat()].map(({ end }) => end()))
  }
  return asked.map(([first, second]) => [first.heard, second.heard])
}

const FEED = 'subscription { predictionFeed { __typename } }'

function judge(place: Place, question: Question, pair: Pair, { secrets, names }: Sights) {
  const found: string[] = []
  const cleared = pair.map((heard, i) => without(JSON.stringify(heard), question.values[i]!))
  for (const text of cleared)
    for (const secret of secrets)
      if (text.includes(secret)) found.push(`it tells "${secret}": ${excerpt(text, secret)}`)
  const [first, second] = cleared.map((text, i) => plainOf(text, names[i]!, question.uneven))
  if (first !== second) found.push(differenceOf(first!, second!))
  for (const { told } of pair) {
    const text = told.join('')
    if (UNPUT.test(text)) found.push(`it was not put: ${text.slice(0, 300)}`)
  }
  const { told } = pair[1]
  const isNested = place.name.includes(' > ')
  const yielded = [...told.join('').matchAll(/"(\w+)_(\w+)":(?!null|\[\])/g)].map(
    ([, type, field]) => `${type}.${field}`,
  )
  return {
    found,
    yielded,
    isReached: isNested ? told.some(text => text.includes('"reached"')) : told.length > 0,
  }
}

/** Errors with these codes, or with none, say nothing of what was asked for. */
const UNPUT =
  /"extensions":\{"code":"(?!NOT_FOUND|BAD_ARGUMENT|INVALID_INPUT|IDEMPOTENCY_CONFLICT|ALREADY_FINISHED)|"message":"(Syntax Error|Cannot query|Unknown|Field|Variable)/

/** What was asked for may be told again. */
function without(text: string, value: string): string {
  // It is JSON in JSON.
  const written = JSON.stringify(JSON.stringify(value).slice(1, -1)).slice(1, -1)
  return value === '' ? text : text.replaceAll(written, '<asked>')
}

/** Without what is the asker's own, and what is another one each time. */
function plainOf(text: string, names: Names, uneven: boolean): string {
  let plain = text
  for (const [own, name] of names) plain = plain.replaceAll(own, name)
  plain = plain
    .replace(/[\w-]+\.[\w-]{20,}\.[\w-]{40,}/g, '<token>')
    .replace(/(?<=")[\w-]{22}(?=\\*")|(?<=\bid: )[\w-]{22}(?=\\n)/g, '<cursor>')
    .replace(/(?<=queuePosition\\*":)\d+/g, '<position>')
  return uneven ? plain.replace(/content-length[\\"]+,[\\"]+\d+/, '<length>') : plain
}

const excerpt = (text: string, part: string) => {
  const at = text.indexOf(part)
  return text.slice(Math.max(0, at - 150), at + 80)
}

function differenceOf(a: string, b: string): string {
  let at = 0
  while (a[at] === b[at]) at++
  const from = Math.max(0, at - 120)
  return `it differs from what never was:\n    ${a.slice(from, at + 160)}\n    ${b.slice(from, at + 160)}`
}
