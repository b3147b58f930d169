/**
 * Which calls of a peer have been seen, so that a frame that the network delivers twice is served once.
 *
 * A caller numbers its calls to one peer 1, 2, 3, … within its incarnation. For each of the latest incarnations of a
 * peer a window is kept: the highest id seen, and a bitmap of the 4,096 ids that end there. A new id may come late, in
 * any order, as long as it is in the window; what is older counts as seen. So a frame that was overtaken by 4,096
 * later ones is lost, as any frame may be, and nothing is ever served twice.
 *
 * Ids are compared modulo 2^32, so that numbering goes on past the last u32.
 */

/** Ids a window covers: more than one caller has under way to one peer. A power of two; 512 bytes of bitmap. */
const WINDOW_IDS = 4096
/** Incarnations kept of one peer: a frame would have to stay under way across so many restarts to pass as new. */
const INCARNATIONS_KEPT = 8

export class CallWindows {
  /** By peer; the incarnation first seen last is first. */
  private readonly peers = new Map<string, CallWindow[]>()

  /** True at the first sight of the call, false for one seen before or too old to tell. */
  admit(peer: string, incarnation: number, id: number): boolean {
    let windows = this.peers.get(peer)
    if (windows === undefined) {
      windows = []
      this.peers.set(peer, windows)
    }
    for (const window of windows) {
      if (window.incarnation === incarnation) return window.admit(id)
    }
    windows.unshift(new CallWindow(incarnation, id))
    if (windows.length > INCARNATIONS_KEPT) windows.pop()
    return true
  }
}

class CallWindow {
  readonly incarnation: number
  private highest: number
  /** Bit `id mod WINDOW_IDS` of every id in the window: seen. */
  private readonly bits = new Uint32Array(WINDOW_IDS / 32)

  /** The first call seen, which need not be the first one sent. */
  constructor(incarnation: number, id: number) {
    this.incarnation = incarnation
    this.highest = id
    this.set(id)
  }

  admit(id: number): boolean {
    const ahead = (id - this.highest) | 0
    if (ahead > 0) {
      this.advance(ahead)
    } else if (ahead <= -WINDOW_IDS || this.has(id)) {
      return false
    }
    this.set(id)
    return true
  }

  /** Moves the window up; the ids it newly covers are unseen. */
  private advance(by: number): void {
    if (by >= WINDOW_IDS) this.bits.fill(0)
    else for (let i = 1; i <= by; i++) this.clear(this.highest + i)
    this.highest = (this.highest + by) >>> 0
  }

  private has(id: number): boolean {
    return (this.bits[wordOf(id)]! & maskOf(id)) !== 0
  }

  private set(id: number): void {
    this.bits[wordOf(id)]! |= maskOf(id)
  }

  private clear(id: number): void {
    this.bits[wordOf(id)]! &= ~maskOf(id)
  }
}

function wordOf(id: number): number {
  return (id & (WINDOW_IDS - 1)) >>> 5
}

function maskOf(id: number): number {
  return 1 << (id & 31)
}
