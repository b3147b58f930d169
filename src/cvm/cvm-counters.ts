/** What happens behind the IO of one CVM, for `stats()`. Grows only. */
export class CvmCounters {
  repairedSlices = 0
  corruptSlices = 0
  localisedBytes = 0
  localisedEgroups = 0
  evictedBytes = 0
  evictedEgroups = 0
  backgroundBytes = 0
}
