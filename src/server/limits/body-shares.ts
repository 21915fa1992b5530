/**
 * Shares of the bytes of request bodies in memory: of the process, of each owner (an app, or a network), and of each
 * member of an owner (a token).
 * Invariant: an owner that holds no share gets a first one while the reserved bytes are free, whatever others hold.
 */

export interface BodyShares {
  /** The share of one request. `member` is null if the owner itself sends the request. */
  open(owner: string, member: string | null): BodyShare
}

export interface BodyShare {
  /** Raises the share to `bytes`. False: a limit would be exceeded, and nothing changes. */
  tryRaise(bytes: number): boolean
  /** Gives all bytes back. The share may be raised again. */
  release(): void
}

/** Multiples of the max body. */
export interface BodySharesOptions {
  maxBodyBytes: number
  total: number
  /** Of `total`: only for owners that hold no other share. */
  reserved: number
  perOwner: number
  perMember: number
}

export function createBodyShares(options: BodySharesOptions): BodyShares {
  const { maxBodyBytes } = options
  const [maxTotal, reserved, maxPerOwner, maxPerMember] = [
    options.total * maxBodyBytes,
    options.reserved * maxBodyBytes,
    options.perOwner * maxBodyBytes,
    options.perMember * maxBodyBytes,
  ]
  const held = new Map<string, number>()
  let totalHeld = 0

  function add(key: string, bytes: number): void {
    const sum = (held.get(key) ?? 0) + bytes
    if (sum > 0) held.set(key, sum)
    else held.delete(key)
  }

  return {
    open(owner, member) {
      const memberKey = member === null ? null : `${owner} ${member}`
      let ownBytes = 0

      function change(bytes: number): void {
        ownBytes += bytes
        totalHeld += bytes
        add(owner, bytes)
        if (memberKey !== null) add(memberKey, bytes)
      }

      return {
        tryRaise(bytes) {
          const added = bytes - ownBytes
          if (added <= 0) return true
          const ownerHeld = held.get(owner) ?? 0
          const isOnlyShare = ownerHeld === ownBytes
          if (totalHeld + added > (isOnlyShare ? maxTotal : maxTotal - reserved)) return false
          if (ownerHeld + added > maxPerOwner) return false
          if (memberKey !== null && (held.get(memberKey) ?? 0) + added > maxPerMember) return false
          change(added)
          return true
        },
        release: () => change(-ownBytes),
      }
    },
  }
}
