/** Every scenario has the output that its file shows. `npx tsx test/golden/rewrite.ts` keeps what they have now. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runScenario, scenarioNames, scenarioPath } from './scenario.ts'

const REWRITE = process.env.HITHER_REWRITE === '1'

for (const name of scenarioNames()) {
  test(name, async () => {
    const text = readFileSync(scenarioPath(name), 'utf8')
    const now = await runScenario(text)
    if (REWRITE) writeFileSync(scenarioPath(name), now)
    else expect(now).toBe(text)
  })
}
