/**
 * The marks of space, as parts of a tier's or node's size, in the order in which a filling node meets them. The order
 * is what keeps moves from chasing each other, and is asserted below: what fills (promote, localise) stops under the
 * mark at which the tier is emptied, and what empties goes well below the mark that started it.
 */
import { invariant } from '../base/errors.ts'

/** Tiering down frees the SSD to here: 15 % of it below the mark that started it. */
export const SSD_LOW = 0.6
/** Promotion and localising may fill the SSD to here. */
export const SSD_FILL = 0.7
/** Above this, the coldest go down to the HDD. */
export const SSD_HIGH = 0.75

/** Eviction empties a node to here, and takes no target beyond. */
export const NODE_LOW = 0.8
/** Above this, the coldest copies go to nodes with more space. */
export const NODE_HIGH = 0.85
/** Tiering down fills the HDD to here. */
export const HDD_FILL = 0.9

/** A node at this part refuses user writes with `NO_SPACE`; no move fills a tier so far. */
export const NODE_REFUSES = 0.95

/** A moved egroup stays for so long, ms. */
export const HOLD_MS = 10 * 60_000
/** Decayed accesses from which an egroup on the owner's HDD is worth bringing back to SSD. */
export const PROMOTE_HEAT_MIN = 3

invariant(SSD_LOW < SSD_FILL && SSD_FILL < SSD_HIGH, 'the SSD marks are in order')
invariant(
  NODE_LOW < NODE_HIGH && NODE_HIGH < HDD_FILL && HDD_FILL < NODE_REFUSES,
  'the node marks are in order',
)
