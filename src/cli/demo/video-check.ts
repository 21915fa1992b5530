/**
 * Checks that a URL serves a playable video: downloads it and reads its container.
 */
import { request } from 'undici'

export interface VideoInfo {
  bytes: number
  seconds: number
  width: number
  height: number
  codec: string
}

const MAX_VIDEO_BYTES = 500 * 1024 * 1024

/** @throws Error with one sentence if it is not playable */
export async function checkVideo(url: string, signal: AbortSignal): Promise<VideoInfo> {
  const response = await request(url, { signal, reset: true })
  if (response.statusCode !== 200) {
    await response.body.dump()
    throw new Error(`${url} answers ${response.statusCode}`)
  }
  if (Number(response.headers['content-length'] ?? 0) > MAX_VIDEO_BYTES)
    throw new Error(`${url} is over ${MAX_VIDEO_BYTES} bytes`)
  const bytes = await response.body.arrayBuffer()
  // The parser has megabytes: it is loaded only when there is something to parse.
  const { BufferSource, Input, MP4 } = await import('mediabunny')
  try {
    const input = new Input({ source: new BufferSource(bytes), formats: [MP4] })
    const track = await input.getPrimaryVideoTrack()
    if (track === null) throw new Error('it has no video track')
    const seconds = await input.computeDuration()
    if (!(seconds > 0)) throw new Error('its duration is 0')
    const { displayWidth: width, displayHeight: height } = track
    return { bytes: bytes.byteLength, seconds, width, height, codec: track.codec ?? 'unknown' }
  } catch (error) {
    throw new Error(`${url} is not a playable MP4: ${(error as Error).message}`)
  }
}
