/**
 * The place that one request under way occupies. Slots are used again: the two functions that a promise needs are made
 * once a slot, not once a request.
 */
import type { AllocationRun } from '../../api.ts'
import type { RequestHeader } from './request-parser.ts'

export class Slot {
  cookieHigh = 0
  cookieLow = 0
  command = 0
  flags = 0
  /** What is left to do, for a CACHE request; for the others what was asked for. */
  offset = 0
  length = 0
  /** Bytes of the budgets that this request holds. */
  cost = 0
  /** Target of a READ or CACHE step: a view of `pooled`. */
  target: Buffer | undefined
  /** Pool buffer that must go back when the request is over. */
  pooled: Buffer | undefined
  /** The vDisk has the request. */
  active = false
  /** The client has its answer already (ESHUTDOWN); what the vDisk says no longer counts. */
  abandoned = false
  /** For `then`: what the vDisk answered, which only BLOCK_STATUS looks at. */
  readonly done: (result: unknown) => void
  readonly failed: (error: unknown) => void

  constructor(
    done: (slot: Slot, result: AllocationRun[] | undefined) => void,
    failed: (slot: Slot, error: unknown) => void,
  ) {
    this.done = (result) => done(this, result as AllocationRun[] | undefined)
    this.failed = (error) => failed(this, error)
  }

  begin(header: RequestHeader, cost: number, pooled: Buffer | undefined): void {
    this.cookieHigh = header.cookieHigh
    this.cookieLow = header.cookieLow
    this.command = header.command
    this.flags = header.flags
    this.offset = header.offset
    this.length = header.length
    this.cost = cost
    this.pooled = pooled
    this.active = true
    this.abandoned = false
  }
}
