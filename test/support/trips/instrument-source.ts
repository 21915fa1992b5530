/**
 * Adds an expression to the start of every function of a module. No line moves, so stacks and errors stay right.
 */
import { stripTypeScriptTypes } from 'node:module'
import { parseAst } from 'vitest/node'

interface SyntaxNode {
  readonly type: string
  readonly start: number
  readonly end: number
}

interface FunctionNode extends SyntaxNode {
  readonly body: SyntaxNode
}

/** The methods, accessors and constructors of a class or an object contain a `FunctionExpression`. */
const FUNCTION_TYPES = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'])

const isNode = (value: unknown): value is SyntaxNode => typeof (value as SyntaxNode | null)?.type === 'string'

function functionsIn(node: SyntaxNode): FunctionNode[] {
  const own = FUNCTION_TYPES.has(node.type) ? [node as FunctionNode] : []
  return [...own, ...Object.values(node).flat().filter(isNode).flatMap(functionsIn)]
}

/**
 * @param source a module in TypeScript
 * @param expressionFor makes the expression from the text before the function: a method's name is at its end
 * @returns JavaScript. Each function evaluates its expression after its default parameters and before its body
 */
export function instrumentSource(source: string, expressionFor: (textBefore: string) => string): string {
  const code = stripTypeScriptTypes(source)
  const insertions = functionsIn(parseAst(code) as SyntaxNode).flatMap(({ start, body }) => {
    const expression = expressionFor(code.slice(0, start))
    if (body.type === 'BlockStatement') return [{ at: body.start + 1, text: `${expression};` }]
    return [
      { at: body.start, text: `(${expression},` },
      { at: body.end, text: ')' },
    ]
  })
  // The last comes first, so the positions of the others stay right.
  return insertions
    .sort((a, b) => b.at - a.at)
    .reduce((text, { at, text: insertion }) => text.slice(0, at) + insertion + text.slice(at), code)
}
