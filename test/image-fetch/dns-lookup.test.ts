import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { createLookup } from '../../src/image-fetch/dns-lookup.ts'

const A = 1
const AAAA = 28
type Records = Partial<Record<number, Buffer>>

/** A name server that has these records for every name; without records it never answers. */
async function serve(records: Records | null) {
  const socket: Socket = createSocket('udp4')
  socket.on('message', (query, sender) => {
    if (records === null) return
    const end = query.indexOf(0, 12) + 5
    const data = records[query.readUInt16BE(end - 4)]
    const answer = Buffer.concat([
      query.subarray(0, end),
      data ? record(query.readUInt16BE(end - 4), data) : Buffer.of(),
    ])
    answer.writeUInt16BE(data ? 0x8180 : 0x8183, 2)
    answer.writeUInt16BE(data ? 1 : 0, 6)
    answer.writeUInt32BE(0, 8)
    socket.send(answer, sender.port, sender.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    address: `127.0.0.1:${socket.address().port}`,
    [Symbol.asyncDispose]: () => new Promise<void>(resolve => void socket.close(resolve)),
  }
}

/** Records of the requested name with a TTL of one minute. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length])
  return Buffer.concat([head, data])
}

const lookUp = (address: string, name = 'images.example') =>
  new Promise<unknown>((resolve, reject) =>
    createLookup([address])(name, { all: true }, (error, addresses) =>
      error ? reject(error) : resolve(addresses),
    ),
  )

test('a name has the addresses of both families', async () => {
  const six = Buffer.from('20010db8000000000000000000000001', 'hex')
  await using server = await serve({ [A]: Buffer.from([192, 0, 2, 7]), [AAAA]: six })
  expect(await lookUp(server.address)).toEqual([
    { address: '192.0.2.7', family: 4 },
    { address: '2001:db8::1', family: 6 },
  ])
})

test('one family is enough', async () => {
  await using server = await serve({ [A]: Buffer.from([192, 0, 2, 7]) })
  expect(await lookUp(server.address)).toEqual([{ address: '192.0.2.7', family: 4 }])
})

test('an unknown name is an error', async () => {
  await using server = await serve({})
  await expect(lookUp(server.address)).rejects.toMatchObject({ code: 'ENOTFOUND' })
})

test('many names with a silent name server delay no other, and time out by themselves', async () => {
  await using silent = await serve(null)
  await using server = await serve({ [A]: Buffer.from([192, 0, 2, 7]) })
  let ended = 0
  const lost = Array.from({ length: 20 }, (_, n) =>
    lookUp(silent.address, `n${n}.example`).catch(error => {
      ended++
      return error.code
    }),
  )
  expect(await lookUp(server.address)).toHaveLength(1)
  expect(ended).toBe(0)
  expect(new Set(await Promise.all(lost))).toEqual(new Set(['ETIMEOUT']))
}, 15_000)
