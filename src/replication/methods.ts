/** Numbers of the RPC methods. Never reused: two versions of hither may talk to each other during an upgrade. */
export const METHOD = {
  // one node's extent store
  createCopy: 1,
  syncCopy: 3,
  fence: 4,
  seal: 5,
  copyInfo: 6,
  readSlots: 7,
  readLog: 8,
  dropCopy: 10,
  compact: 11,
  repairSlot: 12,
  scrub: 13,
  moveTier: 14,
  pull: 15,
  dropPartial: 16,
  /** 9 answered the same as JSON. */
  slots: 17,
  /** 2 took the same with JSON in front. */
  append: 18,
  // vDisk IO sent on to the owner
  vdiskRead: 32,
  vdiskWrite: 33,
  vdiskErase: 34,
  vdiskFlush: 35,
  vdiskAllocation: 36,
  vdiskControl: 37,
  files: 38,
  // between controllers
  handOver: 48,
  adopt: 49,
  fingerprints: 50,
  markRoots: 51,
  forgetSlots: 52,
  beginReclaim: 53,
  endReclaim: 54,
  reportHeat: 55,
  rotateStream: 56,
  scrubStep: 57,
  publishUsage: 58,
} as const

/** A peer that works answers such a call within this time, or is taken for failed. Milliseconds. */
export const CALL_TIMEOUT_MS = 5_000
/** Calls that move whole groups. */
export const BULK_TIMEOUT_MS = 60_000
