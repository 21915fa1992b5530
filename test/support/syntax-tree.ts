/**
 * The syntax tree of a source file, for tests that read the code. Comments are not in the tree.
 */
import { readFileSync } from 'node:fs'
import { parseAst } from 'vitest/node'

export interface SyntaxNode {
  readonly type: string
  /** Offsets in the source. */
  readonly start: number
  readonly end: number
  /** Set if the node is an identifier. */
  readonly name?: string
}

export const parseSource = (source: string): SyntaxNode => parseAst(source, { lang: 'ts' }) as SyntaxNode

export const parseFile = (file: string): SyntaxNode => parseSource(readFileSync(file, 'utf8'))

const isNode = (value: unknown): value is SyntaxNode => typeof (value as SyntaxNode | null)?.type === 'string'

export const childrenOf = (node: SyntaxNode): SyntaxNode[] => Object.values(node).flat().filter(isNode)

/** The node and all nodes below it. */
export const nodesIn = (node: SyntaxNode): SyntaxNode[] => [node, ...childrenOf(node).flatMap(nodesIn)]
