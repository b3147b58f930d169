/**
 * Property tests (fast-check) draw from a fresh seed each time, which a failure prints. With `HITHER_PROPERTY_SEED` they all
 * draw from that one: for the gate of a change (.ci/run), which must not depend on luck.
 */
import fc from 'fast-check'

const seed = process.env['HITHER_PROPERTY_SEED']
if (seed !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) })
