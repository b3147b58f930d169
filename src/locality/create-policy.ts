/** From the name of a policy to a new instance; one instance serves all vDisks of one node. */
import { HitherError } from '../base/errors.ts'
import type { LocalityPolicy, LocalityPolicyName } from './policy.ts'
import { createClassicPolicy } from './policy-classic.ts'
import { createKeepPolicy } from './policy-keep.ts'
import { createNeverPolicy } from './policy-never.ts'
import { createReadaheadPolicy } from './policy-readahead.ts'

const FACTORIES: Readonly<Record<LocalityPolicyName, () => LocalityPolicy>> = {
  never: createNeverPolicy,
  classic: createClassicPolicy,
  keep: createKeepPolicy,
  readahead: createReadaheadPolicy,
}

/** All names, from the least done to the most. */
export const LOCALITY_POLICY_NAMES = Object.keys(FACTORIES) as readonly LocalityPolicyName[]

/** Throws `BAD_SETTING` for a name that is not in `LOCALITY_POLICY_NAMES`. */
export function createLocalityPolicy(name: LocalityPolicyName): LocalityPolicy {
  if (!Object.hasOwn(FACTORIES, name)) {
    throw new HitherError(
      'BAD_SETTING',
      `localityPolicy "${name}" is not known; use one of ${LOCALITY_POLICY_NAMES.join(', ')}`,
    )
  }
  return FACTORIES[name]()
}
