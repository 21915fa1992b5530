/**
 * Starts listening, and returns the URL of the server.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { StartupError } from '../../domain/errors.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'

/** @throws StartupError with a sentence for the operator */
export async function listen(server: Server, host: string, port: number, log: ErrorLog): Promise<string> {
  try {
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new StartupError(
      `${LISTEN_ERRORS[code ?? ''] ?? `it can't listen (${code})`}: HOST=${host} PORT=${port}.`,
    )
  }
  server.removeAllListeners('error')
  // A socket that cannot be accepted, for example because no file may be opened (EMFILE), ends nothing.
  server.on('error', error => log.error({ err: error }, 'a connection could not be accepted'))
  const boundPort = (server.address() as AddressInfo).port
  const shownHost = WILDCARDS.has(host) ? ownAddress() : host
  return `http://${shownHost.includes(':') ? `[${shownHost}]` : shownHost}:${boundPort}`
}

const WILDCARDS = new Set(['0.0.0.0', '::'])

/** An address at which others reach this machine. A wildcard address is not one. */
const ownAddress = (): string =>
  Object.values(networkInterfaces())
    .flatMap(addresses => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'The port is in use by another program; stop it, or set another PORT',
  EACCES: 'No permission to listen on this port; ports below 1024 need one',
  EADDRNOTAVAIL: 'This machine has no such address',
  ENOTFOUND: 'No address is known for this host name',
}
