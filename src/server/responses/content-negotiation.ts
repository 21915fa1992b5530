/**
 * Which of these a header with qualities (Accept, Accept-Encoding) names as its best, the first of equals; wildcards
 * name none.
 */
export function preferred(header: string | string[] | undefined, names: readonly string[]): string | null {
  const named = String(header ?? '')
    .toLowerCase()
    .split(',')
    .map(entry => {
      const [name = '', ...parameters] = entry.split(';').map(part => part.trim())
      const quality = parameters.find(parameter => parameter.startsWith('q='))
      return { name, quality: quality === undefined ? 1 : Number(quality.slice(2)) }
    })
    .filter(({ name, quality }) => names.includes(name) && quality > 0)
  const best = Math.max(...named.map(({ quality }) => quality))
  return named.find(({ quality }) => quality === best)?.name ?? null
}
