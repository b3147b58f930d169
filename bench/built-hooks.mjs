/** Module resolution for built.mjs. */
const SOURCES = new URL('../src/', import.meta.url).href
const BUILT = new URL('../dist/', import.meta.url).href

export async function resolve(specifier, context, nextResolve) {
  const found = await nextResolve(specifier, context)
  if (!found.url.startsWith(SOURCES)) return found
  const url = BUILT + found.url.slice(SOURCES.length).replace(/\.ts(?=$|\?)/, '.js')
  return { ...found, url, format: 'module' }
}
