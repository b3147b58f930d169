/** The end of a write that nobody waits for any more (`WriteOptions.isAwaited`). */
import { HitherError } from '../base/errors.ts'

export function notAwaited(): HitherError {
  return new HitherError('CANCELLED', 'nobody waits for this write any more; it is not tried again')
}
