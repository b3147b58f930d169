/**
 * Compiles the data kernel (`kernel/assembly/`) and writes it, as text, to `src/base/kernel-wasm.ts`. That file is checked
 * in, so that sources run without a build; `test/base/kernel-build.test.ts` holds the two together.
 *
 *   npm run build:kernel
 */
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const root = resolve(import.meta.dirname, '..')
const TARGET = join(root, 'src/base/kernel-wasm.ts')
const LINE_CHARS = 100

/** Same sources and compiler, same bytes, on every machine. Throws with the compiler's messages. */
export async function compileKernel() {
  let wasm
  const messages = asc.createMemoryStream()
  const { error } = await asc.main(
    [
      'kernel/assembly/index.ts',
      '--baseDir',
      root,
      '--outFile',
      'kernel.wasm',
      '-O3',
      '--converge',
      '--noAssert',
      '--runtime',
      'stub',
      '--use',
      'abort=',
      '--enable',
      'simd',
      '--enable',
      'bulk-memory',
      // The host brings the memory: fixed, so that views of it never go dead.
      '--importMemory',
      '--noExportMemory',
      '--initialMemory',
      '4',
    ],
    {
      stderr: messages,
      writeFile(_name, contents) {
        if (typeof contents !== 'string') wasm = contents
      },
    },
  )
  if (error || !wasm) throw new Error(`the kernel does not compile: ${messages.toString()}`, { cause: error })
  return wasm
}

/** The TypeScript module that carries the bytes. */
export function moduleText(wasm) {
  const text = Buffer.from(wasm).toString('base64')
  const lines = []
  for (let at = 0; at < text.length; at += LINE_CHARS) lines.push(`  '${text.slice(at, at + LINE_CHARS)}',`)
  return [
    '/** Generated from kernel/assembly/ by `npm run build:kernel`: do not edit. The data kernel, WebAssembly in base64. */',
    'export const KERNEL_WASM = [',
    ...lines,
    "].join('')",
    '',
  ].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wasm = await compileKernel()
  writeFileSync(TARGET, moduleText(wasm))
  process.stdout.write(`${TARGET}: ${wasm.length} bytes of WebAssembly\n`)
}
