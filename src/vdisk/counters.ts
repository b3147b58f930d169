/** What the vDisks of one CVM count, for `stats()`. Plain numbers that grow; read and summed from outside. */
export class IoCounters {
  reads = 0
  writes = 0
  readBytes = 0
  writtenBytes = 0
  localBytes = 0
  remoteBytes = 0
  savedZeroBytes = 0
  savedDedupeBytes = 0
  savedCompressionBytes = 0
}

/** Adds to a vDisk's own counters and to its CVM's. */
export class VDiskCounters extends IoCounters {
  private readonly total: IoCounters

  constructor(total: IoCounters) {
    super()
    this.total = total
  }

  countRead(bytes: number): void {
    this.reads++
    this.readBytes += bytes
    this.total.reads++
    this.total.readBytes += bytes
  }

  countWrite(bytes: number): void {
    this.writes++
    this.writtenBytes += bytes
    this.total.writes++
    this.total.writtenBytes += bytes
  }

  countSource(localBytes: number, remoteBytes: number): void {
    this.localBytes += localBytes
    this.remoteBytes += remoteBytes
    this.total.localBytes += localBytes
    this.total.remoteBytes += remoteBytes
  }

  countSaved(zero: number, dedupe: number, compression: number): void {
    this.savedZeroBytes += zero
    this.savedDedupeBytes += dedupe
    this.savedCompressionBytes += compression
    this.total.savedZeroBytes += zero
    this.total.savedDedupeBytes += dedupe
    this.total.savedCompressionBytes += compression
  }
}
