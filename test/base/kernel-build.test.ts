/** Guards: the checked-in kernel is what its sources compile to, so nobody runs another one than they read. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { compileKernel, moduleText } from '../../kernel/build.mjs'

it('src/base/kernel-wasm.ts holds what kernel/assembly/ compiles to (else: npm run build:kernel)', async () => {
  const file = join(import.meta.dirname, '../../src/base/kernel-wasm.ts')
  expect(moduleText(await compileKernel())).toBe(readFileSync(file, 'utf8'))
})
