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
import { queryTooComplex, withoutHint } from './document-limits.ts'

export interface CostOptions {
  maxQueryCost: number
  maxQueryDepth: number
  /** Whether faults of variables may hint at the schema. */
  allowHints: boolean
}

/** Of variables, in lists and objects of any depth: so many are coerced in some 10 ms (measured). */
const MAX_VARIABLE_VALUES = 10_000
/** As graphql-js itself has it. */
const MAX_VARIABLE_ERRORS = 50
/** Of reading the schema, each list of it taken for ten: GraphiQL's own query is at 52,000. */
const MAX_INTROSPECTION_COST = 60_000
const MAX_INTROSPECTION_ALIASES = 10

interface OperationCost {
  cost: number
  depth: number
  introspection: number
}

export function useQueryCost({ maxQueryCost, maxQueryDepth, allowHints }: CostOptions): Plugin {
  /** Of those that cost the same whatever their variables are. */
  const fixedCosts = new WeakMap<OperationDefinitionNode, OperationCost>()
  const dependsOnVariables = createVariableDependence()

  function checkLimits({ schema, document, operationName, variableValues }: ExecutionArgs): GraphQLError[] {
    const operation = getOperationAST(document, operationName)
    // The executor says so.
    if (!operation) return []
    const variablesError = checkVariables(variableValues ?? {})
    if (variablesError) return [variablesError]
    const definitions = operation.variableDefinitions ?? []
    const { coerced, errors } = getVariableValues(schema, definitions, variableValues ?? {}, {
      maxErrors: MAX_VARIABLE_ERRORS,
    })
    if (!coerced) return (errors ?? []).map(error => (allowHints ? error : withoutHint(error)))
    const cost = fixedCosts.get(operation) ?? computeCost(schema, document, operation, variableValues ?? {})
    if (!fixedCosts.has(operation) && !dependsOnVariables(schema, document)) fixedCosts.set(operation, cost)
    if (cost.depth > maxQueryDepth) return [queryTooComplex('Levels of fields', cost.depth, maxQueryDepth)]
    if (cost.cost > maxQueryCost) return [queryTooComplex('Cost', cost.cost, maxQueryCost)]
    if (cost.introspection > MAX_INTROSPECTION_COST)
      return [queryTooComplex('Cost of introspection', cost.introspection, MAX_INTROSPECTION_COST)]
    return []
  }

  function rejectIfOverLimit(args: ExecutionArgs, stop: (result: { errors: GraphQLError[] }) => void): void {
    const errors = checkLimits(args)
    if (errors.length === 0) return
    const { countRejection, scope } = args.contextValue as Context
    if (errors.some(({ extensions }) => extensions.code === 'QUERY_TOO_COMPLEX'))
      countRejection(scope.appId, 'QUERY_TOO_COMPLEX')
    // Where the client asked to be told so by the status.
    for (const { extensions } of errors) extensions.http = { status: 400, spec: true }
    stop({ errors })
  }

  return {
    onExecute: ({ args, setResultAndStopExecution }) => rejectIfOverLimit(args, setResultAndStopExecution),
    onSubscribe: ({ args, setResultAndStopExecution }) => rejectIfOverLimit(args, setResultAndStopExecution),
  }
}

/** Whether a variable stands where it may change a cost: in the arguments of a field that counts by them. */
function createVariableDependence(): (schema: GraphQLSchema, document: DocumentNode) => boolean {
  const cache = new WeakMap<DocumentNode, boolean>()

  return (schema, document) => {
    let found = cache.get(document)
    if (found !== undefined) return found
    found = false
    const types = new TypeInfo(schema)
    const hasComputedCost = () => typeof types.getFieldDef()?.extensions.complexity === 'function'
    visit(
      document,
      visitWithTypeInfo(types, {
        Argument(node) {
          if (hasComputedCost() && mentionsVariable(node)) found = true
        },
      }),
    )
    cache.set(document, found)
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

function computeCost(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Record<string, unknown>,
): OperationCost {
  const fragments = document.definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION)
  const measure = (definition: OperationDefinitionNode, targetSchema: GraphQLSchema) =>
    complexityFromQuery(
      { kind: Kind.DOCUMENT, definitions: [definition, ...fragments] },
      { schema: targetSchema, variables },
    )

  const { complexity, depth } = measure(operation, schema)
  const { fields, aliases } = findIntrospection(document)
  if (fields.length === 0) return { cost: complexity, depth, introspection: 0 }
  if (aliases > MAX_INTROSPECTION_ALIASES)
    return { cost: complexity, depth, introspection: Number.POSITIVE_INFINITY }
  const introspectionCosts = fields.map(
    ({ selectionSet, metaSchema }) => measure(toQuery(selectionSet), metaSchema).complexity,
  )
  return { cost: complexity, depth, introspection: introspectionCosts.reduce((sum, cost) => sum + cost, 0) }
}

const toQuery = (selectionSet: SelectionSetNode): OperationDefinitionNode => ({
  kind: Kind.OPERATION_DEFINITION,
  operation: OperationTypeNode.QUERY,
  selectionSet,
})

/** The plugin takes `__schema` and `__type` for leaves: what is below them is measured as if it were a query. */
function findIntrospection(document: DocumentNode) {
  const fields: { selectionSet: SelectionSetNode; metaSchema: GraphQLSchema }[] = []
  let aliases = 0
  visit(document, {
    Field({ name, alias, selectionSet }) {
      if (alias) aliases++
      const metaSchema = META_SCHEMAS[name.value]
      if (metaSchema && selectionSet) fields.push({ selectionSet, metaSchema })
    },
  })
  return { fields, aliases }
}

const META_SCHEMAS: Readonly<Record<string, GraphQLSchema>> = {
  [SchemaMetaFieldDef.name]: new GraphQLSchema({ query: __Schema }),
  [TypeMetaFieldDef.name]: new GraphQLSchema({ query: __Type }),
}

/** Of variables as they came, whether or not anybody has declared them. */
function checkVariables(variables: object): GraphQLError | null {
  const containers = [variables]
  let count = 0
  for (const container of containers) {
    const values: unknown[] = Array.isArray(container) ? container : Object.values(container)
    count += values.length
    if (count > MAX_VARIABLE_VALUES) return badArgument('variables', `at most ${MAX_VARIABLE_VALUES} values`)
    for (const value of values) if (typeof value === 'object' && value !== null) containers.push(value)
  }
  return null
}
