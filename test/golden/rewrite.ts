/**
 * Runs scenarios, and keeps their output of now as the expected one: `npx tsx test/golden/rewrite.ts [NAME …]`, all of them
 * without a name. Read the difference before you commit it: it says what has changed in the engine.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { runScenario, scenarioNames, scenarioPath } from './scenario.ts'

const asked = process.argv.slice(2)
for (const name of asked.length > 0 ? asked : scenarioNames()) {
  const before = readFileSync(scenarioPath(name), 'utf8')
  const now = await runScenario(before)
  if (now !== before) writeFileSync(scenarioPath(name), now)
  console.log(`${now === before ? 'same   ' : 'changed'}  ${name}`)
}
