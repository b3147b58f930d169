/**
 * The checkpoints of vDisks that have fallen idle, one after the other, with rests for guests. Thousands of vDisks can fall
 * idle in the same second: when their hosts stop, or after a takeover, which replays all of their logs. What a checkpoint appends
 * looks like a guest's IO to the nodes that store it, so there are rests without guests, too: nobody waits for the end. A
 * checkpoint itself, of up to 16 MiB, is not interrupted, as a move of its vDisk may wait for it.
 */
import { Mutex } from '../base/queue.ts'
import type { BulkWork } from '../platform/bulk-work.ts'

/** The line of one CVM. */
export class IdleCheckpoints {
  private readonly bulk: BulkWork
  private readonly line = new Mutex()

  constructor(bulk: BulkWork) {
    this.bulk = bulk
  }

  /**
   * Calls `checkpoint` when those before it are done. By then the vDisk may be busy or gone, so it has to look again;
   * `undefined`: there was nothing to do. It must not reject.
   */
  run(checkpoint: () => Promise<void> | undefined): Promise<void> {
    return this.line.run(async () => {
      const rest = this.bulk.begin()
      const running = checkpoint()
      if (running === undefined) return
      await running
      // It can only reject because the CVM is down, and then there is nobody to leave room for.
      await rest().catch(() => {})
    })
  }
}
