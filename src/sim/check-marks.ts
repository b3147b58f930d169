/** The rare paths that a nightly set has to reach, each at least once, or it proves less than it says. */
export const NIGHTLY_MARKS: readonly string[] = [
  'cvm-down',
  'path-switched',
  'takeover',
  'takeover with replay',
  'handover',
  'egroup-sealed-on-failure',
  'copy-corrupt',
  'copy-repaired',
  'rebuilt',
  'localised',
  'device-failed',
  'node-added',
  'node-removed',
  'compaction',
  'egroups reclaimed',
  'curator put off',
]

export function missedMarks(marks: Readonly<Record<string, number>>): string[] {
  return NIGHTLY_MARKS.filter((mark) => (marks[mark] ?? 0) === 0)
}
