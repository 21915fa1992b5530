/**
 * Compares the connections that may be open with the file descriptors that the process may open.
 * Invariant: connections leave descriptors for upstream, images, files and the database. Without them jobs would stand still.
 */
import { readFileSync } from 'node:fs'

/** The database, its log and files that are served: a start has 35 open. Reads of upstream: up to 128. The rest: image hosts. */
export const RESERVED_DESCRIPTORS = 256

/**
 * Max descriptors of the process; null if there is no limit. Node raises the soft limit to the hard one when it starts, so this
 * is the hard limit.
 */
export function readDescriptorLimit(): number | null {
  const limit = readProcLimit() ?? readReportLimit()
  return Number.isSafeInteger(limit) ? limit : null
}

/**
 * Max connections that leave enough descriptors: the reserved ones, and one for each POST to upstream. Half of a small limit
 * stays for connections.
 */
export function capConnections(
  maxConnections: number,
  descriptorLimit: number | null,
  upstreamConcurrency: number | null,
): number {
  if (descriptorLimit === null) return maxConnections
  const reserved = Math.min(
    RESERVED_DESCRIPTORS + (upstreamConcurrency ?? 0),
    Math.floor(descriptorLimit / 2),
  )
  return Math.min(maxConnections, descriptorLimit - reserved)
}

/** On Linux. NaN: "unlimited". */
function readProcLimit(): number | null {
  try {
    const [, soft] = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    return soft === undefined ? null : Number(soft)
  } catch {
    return null
  }
}

/** Elsewhere. It takes 14 ms. NaN: "unlimited", or a system without a limit. */
function readReportLimit(): number {
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft: number | string } } }
  return Number(report.userLimits?.open_files?.soft)
}
