/**
 * Limits of the work that a response of an image host may cost, beyond the bytes of its body.
 * Invariant: the work grows with the bytes of the body, also if the host sends each byte in a chunk or a packet of its
 * own. A piece that waits to be read keeps no other bytes in memory.
 */
import type { Socket } from 'node:net'
import type { Dispatcher } from 'undici'

/** Limits of one connection, which has one response. */
export interface ResponseLimits {
  /** Closes the connection if it brings too few bytes with each read, or too many beside the body. */
  limitReads(socket: Socket): void
  /** An interceptor for undici. Ends a response in too many pieces. */
  limitPieces: Dispatcher.DispatcherComposeInterceptor
}

/**
 * Min bytes of the average piece. The smallest packet that every IPv4 path carries brings 536 bytes. Without a floor, eight
 * hosts that sent chunks of one byte took 80 % of a processor for 5 s (measured).
 */
const MIN_AVERAGE_PIECE_BYTES = 512
/** Pieces that may be of any size, for hosts that write a header field by field. */
const FREE_PIECES = 512
/** Max informational responses (1xx) before the response. Each costs as much as a response. */
const MAX_INFORMATIONAL_RESPONSES = 16
/**
 * Max bytes from the host beside the body: headers, chunk sizes and their extensions, TLS records. Around pieces of 512 bytes
 * they are a twelfth of the body.
 */
const FREE_OVERHEAD_BYTES = 512 * 1024
const MAX_OVERHEAD_RATIO = 1 / 8
/**
 * A piece that keeps more than this many times its bytes is copied: it is a part of what was read from the socket, up to
 * 64 KiB. Eight hosts with one byte of body in each 60 KB of chunk extensions made a process grow by 2.1 GB (measured).
 */
const MAX_KEPT_RATIO = 4

export function createResponseLimits(): ResponseLimits {
  let bodyBytes = 0
  let informationalResponses = 0
  const arePiecesTooSmall = createPieceFloor()
  const areReadsTooSmall = createPieceFloor()

  return {
    limitReads(socket) {
      socket.on('readable', () => {
        const maxBytes = FREE_OVERHEAD_BYTES + bodyBytes * (1 + MAX_OVERHEAD_RATIO)
        if (socket.bytesRead > maxBytes) socket.destroy(limitError('TOO_MUCH_OVERHEAD'))
        else if (areReadsTooSmall(socket.bytesRead)) socket.destroy(limitError('TOO_MANY_PIECES'))
      })
    },

    limitPieces: dispatch => (options, handler) =>
      dispatch(options, {
        onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
        onResponseStart(controller, status, headers, statusText) {
          if (status < 200 && ++informationalResponses > MAX_INFORMATIONAL_RESPONSES)
            controller.abort(limitError('TOO_MANY_INFORMATIONAL_RESPONSES'))
          else handler.onResponseStart?.(controller, status, headers, statusText)
        },
        onResponseData(controller, piece) {
          bodyBytes += piece.length
          if (arePiecesTooSmall(bodyBytes)) controller.abort(limitError('TOO_MANY_PIECES'))
          else handler.onResponseData?.(controller, isWasteful(piece) ? Buffer.from(piece) : piece)
        },
        onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
        onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
      }),
  }
}

const isWasteful = ({ length, buffer }: Buffer): boolean => buffer.byteLength > MAX_KEPT_RATIO * length

/** Counts a piece at each call. */
function createPieceFloor(): (totalBytes: number) => boolean {
  let pieces = 0
  return totalBytes => ++pieces > FREE_PIECES + totalBytes / MIN_AVERAGE_PIECE_BYTES
}

const limitError = (code: string) => Object.assign(new Error('The response exceeds a limit.'), { code })
