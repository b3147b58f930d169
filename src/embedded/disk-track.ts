/** Per vDisk, across handles: when it last answered, and how long its last failover paused it. */
import type { NodeId } from '../base/units.ts'

export interface FailoverNote {
  readonly at: string
  readonly from: NodeId
  readonly to: NodeId
  pauseMs: number
}

export class DiskTrack {
  private lastAnswerMs = 0
  private underWay = 0
  private awaiting: { note: FailoverNote; sinceMs: number } | undefined
  failover: FailoverNote | undefined

  begin(): void {
    this.underWay++
  }

  /** An IO was answered at `nowMs`. */
  answered(nowMs: number): void {
    this.underWay--
    this.lastAnswerMs = nowMs
    if (this.awaiting === undefined) return
    this.awaiting.note.pauseMs = Math.round(nowMs - this.awaiting.sinceMs)
    this.awaiting = undefined
  }

  failed(): void {
    this.underWay--
  }

  /** A peer has taken the vDisk over. With no IO waiting, the pause is the takeover itself. */
  takenOver(note: FailoverNote): void {
    this.failover = note
    this.awaiting =
      this.underWay > 0 && this.lastAnswerMs > 0 ? { note, sinceMs: this.lastAnswerMs } : undefined
  }
}
