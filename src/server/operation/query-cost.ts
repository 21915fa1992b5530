/**
 * Query cost: computed once per document, or before each execution where it depends on the variables.
 * Invariant: no resolver of an operation above a limit runs. The check cannot be a validation rule: a
 * validated document is cached, and executed again with other variables.
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
import { badArgument } from '../../graphql/request-errors.ts'
import { queryTooComplex, withoutHint } from './document-limits.ts'

export interface CostOptions {
  maxQueryCost: number
  maxQueryDepth: number
  /** If false, errors about variables do not suggest names of the schema. */
  allowIntrospection: boolean
}

/** Max values in variables, at any depth. This many are coerced in some 10 ms (measured). */
const MAX_VARIABLE_VALUES = 10_000
/** graphql-js's own default. */
const MAX_VARIABLE_ERRORS = 50
/**
 * The message of each error has all of the invalid value. Larger variables are checked with the start of each text: fifty
 * messages of a megabyte took 400 ms and 50 MB (measured).
 */
const MAX_QUOTED_CHARACTERS = 16 * 1024
/** No name or text of a scalar whose form is checked is longer. */
const CLIPPED_CHARACTERS = 200
/** Max cost of introspection, with ten items counted per list. GraphiQL's own query costs 52,000. */
const MAX_INTROSPECTION_COST = 60_000
const MAX_INTROSPECTION_ALIASES = 10

/** Size of variables as they were sent, declared or not. */
export interface VariablesSize {
  values: number
  /** Characters of all names and texts. */
  characters: number
}

/** The errors of an operation above a limit; or none, and its cost. */
interface CostCheck {
  errors: readonly GraphQLError[]
  cost: number
}

interface OperationCost {
  cost: number
  depth: number
  introspection: number
}

export function createCostCheck({
  maxQueryCost,
  maxQueryDepth,
  allowIntrospection,
}: CostOptions): (args: ExecutionArgs, size: VariablesSize) => CostCheck {
  /** Costs that do not depend on variables. */
  const fixedCosts = new WeakMap<OperationDefinitionNode, OperationCost>()
  const dependsOnVariables = createVariableDependence()

  function checkLimits(
    { schema, document, operationName, variableValues }: ExecutionArgs,
    { values, characters }: VariablesSize,
  ): CostCheck {
    const operation = getOperationAST(document, operationName)
    // The executor reports this error.
    if (!operation) return { errors: [], cost: 0 }
    if (values > MAX_VARIABLE_VALUES)
      return rejected(badArgument('variables', `at most ${MAX_VARIABLE_VALUES} values`))
    const definitions = operation.variableDefinitions ?? []
    const sent = variableValues ?? {}
    const checked = characters > MAX_QUOTED_CHARACTERS ? clipTexts(sent) : sent
    const { coerced, errors } = getVariableValues(schema, definitions, checked, {
      maxErrors: MAX_VARIABLE_ERRORS,
    })
    if (!coerced)
      return rejected(...(errors ?? []).map(error => (allowIntrospection ? error : withoutHint(error))))
    const cost = fixedCosts.get(operation) ?? computeCost(schema, document, operation, variableValues ?? {})
    if (!fixedCosts.has(operation) && !dependsOnVariables(schema, document)) fixedCosts.set(operation, cost)
    if (cost.depth > maxQueryDepth)
      return rejected(queryTooComplex('Levels of fields', cost.depth, maxQueryDepth))
    if (cost.cost > maxQueryCost) return rejected(queryTooComplex('Cost', cost.cost, maxQueryCost))
    if (cost.introspection > MAX_INTROSPECTION_COST)
      return rejected(queryTooComplex('Cost of introspection', cost.introspection, MAX_INTROSPECTION_COST))
    return { errors: [], cost: cost.cost + cost.introspection }
  }

  return checkLimits
}

function rejected(...errors: GraphQLError[]): CostCheck {
  // HTTP 400 for clients that accept `application/graphql-response+json`.
  for (const { extensions } of errors) extensions.http = { status: 400, spec: true }
  return { errors, cost: 0 }
}

/**
 * Whether a variable can change the cost: it is in an argument of a field whose cost is computed from its
 * arguments.
 */
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

/**
 * complexityFromQuery counts `__schema` and `__type` as leaves. Their selections are measured as queries of
 * their own.
 */
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

/** Stops counting above MAX_VARIABLE_VALUES. */
export function measureVariables(variables: object): VariablesSize {
  const containers = [variables]
  const size = { values: 0, characters: 0 }
  for (const container of containers) {
    const isList = Array.isArray(container)
    for (const [name, value] of isList ? container.entries() : Object.entries(container)) {
      if (++size.values > MAX_VARIABLE_VALUES) return size
      if (!isList) size.characters += (name as string).length
      if (typeof value === 'string') size.characters += value.length
      else if (typeof value === 'object' && value !== null) containers.push(value)
    }
  }
  return size
}

/** A copy with the start of each name and text. It is valid for the same types, however deep it is. */
function clipTexts(variables: object): Record<string, unknown> {
  const root = {}
  const copies: [source: object, copy: object][] = [[variables, root]]
  for (const [source, copy] of copies)
    for (const [name, value] of Object.entries(source)) {
      const isContainer = typeof value === 'object' && value !== null
      const clipped = isContainer
        ? Array.isArray(value)
          ? []
          : {}
        : typeof value === 'string'
          ? value.slice(0, CLIPPED_CHARACTERS)
          : value
      if (isContainer) copies.push([value, clipped])
      // An assignment to `__proto__` would set the prototype.
      Object.defineProperty(copy, name.slice(0, CLIPPED_CHARACTERS), {
        value: clipped,
        enumerable: true,
        configurable: true,
        writable: true,
      })
    }
  return root
}
