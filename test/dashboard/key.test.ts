import { afterEach, describe, expect, test, vi } from 'vitest'
import { findKey } from '../../src/dashboard/key.ts'

/** A tab whose user answers `agrees` when asked. */
function openTab({ hash, stored, agrees = false }: { hash: string; stored?: string; agrees?: boolean }) {
  const storage = new Map(stored === undefined ? [] : [['rushes.key', stored]])
  const location = { hash, pathname: '/', search: '?status=FAILED' }
  const confirm = vi.fn((_question: string) => agrees)
  vi.stubGlobal('location', location)
  vi.stubGlobal('confirm', confirm)
  vi.stubGlobal('sessionStorage', {
    getItem: (name: string) => storage.get(name) ?? null,
    setItem: (name: string, value: string) => void storage.set(name, value),
  })
  const replaceState = vi.fn()
  vi.stubGlobal('history', { replaceState })
  return { confirm, replaceState, stored: () => storage.get('rushes.key') }
}

afterEach(() => vi.unstubAllGlobals())

describe('a link with a key', () => {
  test('is used at once in a tab without a key, and taken out of the URL', () => {
    const tab = openTab({ hash: '#key=rsh_linked' })
    expect([findKey(), tab.stored()]).toEqual(['rsh_linked', 'rsh_linked'])
    expect(tab.replaceState).toHaveBeenCalledWith(null, '', '/?status=FAILED')
    expect(tab.confirm).not.toHaveBeenCalled()
  })

  test('does not replace the key in use if the user does not agree', () => {
    const tab = openTab({ hash: '#key=rsh_linkedabcdefgh', stored: 'rsh_own12345secret' })
    expect([findKey(), tab.stored()]).toEqual(['rsh_own12345secret', 'rsh_own12345secret'])
    expect(tab.replaceState).toHaveBeenCalledOnce()
  })

  test('replaces it if the user agrees, who sees the visible part of both keys and no more', () => {
    const tab = openTab({ hash: '#key=rsh_linkedabcdefgh', stored: 'rsh_own12345secret', agrees: true })
    expect([findKey(), tab.stored()]).toEqual(['rsh_linkedabcdefgh', 'rsh_linkedabcdefgh'])
    const [question] = tab.confirm.mock.calls[0]!
    expect(question).toContain('rsh_linkedab…')
    expect(question).toContain('rsh_own12345…')
    expect(question).not.toMatch(/secret|cdefgh/)
  })

  test('asks nothing if it is the key in use, or no key', () => {
    for (const hash of ['#key=rsh_own', '#key=', '#key=two%20words', '#other=1', '']) {
      const tab = openTab({ hash, stored: 'rsh_own' })
      expect(findKey()).toBe('rsh_own')
      expect([tab.confirm.mock.calls, tab.stored()]).toEqual([[], 'rsh_own'])
    }
  })
})
