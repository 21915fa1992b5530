/**
 * What an operation would cost: counted once a document, or where its variables count, each time it is to run.
 * Invariant: no resolver runs of an operation that is over a limit. A validated document is kept and asked again with
 * other variables, so this can't be a rule of validation.
 */
import { complexityFromQuery } from '@pothos/plugin-complexity'
import {
  __Schema,
  __Type,
  type ArgumentNode,
  BREAK,
  type DocumentNode,
  type ExecutionArgs,
  type GraphQLError,
  GraphQLSchema,
  getOperationAST,
  getVariableValues,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  SchemaMetaFieldDef,
  type SelectionSetNode,
  TypeInfo,
  TypeMetaFieldDef,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import { tooComplex, withoutHint } from './document-limits.ts'

export interface CostOptions {
  mostCost: number
  deepest: number
  /** Whether faults of variables may hint at the schema. */
  hints: boolean
}

/** Of variables, in lists and objects of any depth: so many are coerced in some 10 ms (measured). */
const MOST_VALUES = 10_000
/** As graphql-js itself has it. */
const MOST_FAULTS = 50
/** Of reading the schema, each list of it taken for ten: GraphiQL's own query is at 52,000. */
const MOST_INTROSPECTION = 60_000
const MOST_ALIASES_OF_INTROSPECTION = 10

interface Cost {
  cost: number
  depth: number
  introspection: number
}

export function useCost({ mostCost, deepest, hints }: CostOptions): Plugin {
  /** Of those that cost the same whatever their variables are. */
  const known = new WeakMap<OperationDefinitionNode, Cost>()
  const varies = createVaries()

  function judge({ schema, document, operationName, variableValues }: ExecutionArgs): GraphQLError[] {
    const operation = getOperationAST(document, operationName)
    // The executor says so.
    if (!operation) return []
    const fault = faultOf(variableValues ?? {})
    if (fault) return [fault]
    const definitions = operation.variableDefinitions ?? []
    const { coerced, errors } = getVariableValues(schema, definitions, variableValues ?? {}, {
      maxErrors: MOST_FAULTS,
    })
    if (!coerced) return (errors ?? []).map(error => (hints ? error : withoutHint(error)))
    const cost = known.get(operation) ?? costOf(schema, document, operation, variableValues ?? {})
    if (!known.has(operation) && !varies(schema, document)) known.set(operation, cost)
    if (cost.depth > deepest) return [tooComplex('Levels of fields', cost.depth, deepest)]
    if (cost.cost > mostCost) return [tooComplex('Cost', cost.cost, mostCost)]
    if (cost.introspection > MOST_INTROSPECTION)
      return [tooComplex('Cost of introspection', cost.introspection, MOST_INTROSPECTION)]
    return []
  }

  function refuse(args: ExecutionArgs, stop: (result: { errors: GraphQLError[] }) => void): void {
    const errors = judge(args)
    if (errors.length === 0) return
    const { refused, scope } = args.contextValue as Context
    if (errors.some(({ extensions }) => extensions.code === 'QUERY_TOO_COMPLEX'))
      refused(scope.appId, 'QUERY_TOO_COMPLEX')
    // Where the client asked to be told so by the status.
    for (const { extensions } of errors) extensions.http = { status: 400, spec: true }
    stop({ errors })
  }

  return {
    onExecute: ({ args, setResultAndStopExecution }) => refuse(args, setResultAndStopExecution),
    onSubscribe: ({ args, setResultAndStopExecution }) => refuse(args, setResultAndStopExecution),
  }
}

/** Whether a variable stands where it may change a cost: in the arguments of a field that counts by them. */
function createVaries(): (schema: GraphQLSchema, document: DocumentNode) => boolean {
  const known = new WeakMap<DocumentNode, boolean>()

  return (schema, document) => {
    let found = known.get(document)
    if (found !== undefined) return found
    found = false
    const types = new TypeInfo(schema)
    const counts = () => typeof types.getFieldDef()?.extensions.complexity === 'function'
    visit(
      document,
      visitWithTypeInfo(types, {
        Argument(node) {
          if (counts() && mentionsVariable(node)) found = true
        },
      }),
    )
    known.set(document, found)
    return found
  }
}

function mentionsVariable(node: ArgumentNode): boolean {
  let found = false
  visit(node, {
    Variable() {
      found = true
      return BREAK
    },
  })
  return found
}

function costOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Record<string, unknown>,
): Cost {
  const fragments = document.definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION)
  const measure = (asked: OperationDefinitionNode, of: GraphQLSchema) =>
    complexityFromQuery(
      { kind: Kind.DOCUMENT, definitions: [asked, ...fragments] },
      { schema: of, variables },
    )

  const { complexity, depth } = measure(operation, schema)
  const { fields, aliases } = introspectionIn(document)
  if (fields.length === 0) return { cost: complexity, depth, introspection: 0 }
  if (aliases > MOST_ALIASES_OF_INTROSPECTION)
    return { cost: complexity, depth, introspection: Number.POSITIVE_INFINITY }
  const each = fields.map(({ selectionSet, as }) => measure(queryOf(selectionSet), as).complexity)
  return { cost: complexity, depth, introspection: each.reduce((sum, one) => sum + one, 0) }
}

const queryOf = (selectionSet: SelectionSetNode): OperationDefinitionNode => ({
  kind: Kind.OPERATION_DEFINITION,
  operation: OperationTypeNode.QUERY,
  selectionSet,
})

/** The plugin takes `__schema` and `__type` for leaves: what is below them is measured as if it were a query. */
function introspectionIn(document: DocumentNode) {
  const fields: { selectionSet: SelectionSetNode; as: GraphQLSchema }[] = []
  let aliases = 0
  visit(document, {
    Field({ name, alias, selectionSet }) {
      if (alias) aliases++
      const as = META[name.value]
      if (as && selectionSet) fields.push({ selectionSet, as })
    },
  })
  return { fields, aliases }
}

const META: Readonly<Record<string, GraphQLSchema>> = {
  [SchemaMetaFieldDef.name]: new GraphQLSchema({ query: __Schema }),
  [TypeMetaFieldDef.name]: new GraphQLSchema({ query: __Type }),
}

/** Of variables as they came, whether or not anybody has declared them. */
function faultOf(variables: object): GraphQLError | null {
  const open = [variables]
  let count = 0
  for (const each of open) {
    const values: unknown[] = Array.isArray(each) ? each : Object.values(each)
    count += values.length
    if (count > MOST_VALUES) return badArgument('variables', `at most ${MOST_VALUES} values`)
    for (const value of values) if (typeof value === 'object' && value !== null) open.push(value)
  }
  return null
}
