/**
 * How long a device takes: a model with named numbers, and a pure function from an operation to its time. Two presets,
 * one for each tier. A model stands for a drive in steady state, not for its best day.
 *
 * Only arithmetic that IEEE 754 defines to the last bit is used (no `exp`, `log`, `pow`), so that the same random
 * numbers give the same times on every machine and Node version.
 */
import { KiB, MiB, TiB } from '../../base/units.ts'
import type { Random } from '../types.ts'

/** A distribution by three of its points, milliseconds. The fastest answer takes `FASTEST` of the median. */
export interface Latency {
  readonly median: number
  /** One of a hundred takes longer. */
  readonly p99: number
  /** The slowest ever. */
  readonly max: number
}

/** The arm of a disk. */
export interface Seek {
  /** To the neighbouring track, with settling, ms. */
  readonly trackMs: number
  /** From the first track to the last, ms. Between the two, the time grows with the root of the distance. */
  readonly fullStrokeMs: number
  /** One turn of the platter, ms. A seek is followed by a wait of 0 to one turn. */
  readonly rotationMs: number
  /** Bytes of address space from the first track to the last. */
  readonly strokeBytes: number
}

export interface DeviceModel {
  /** Time to the first byte, without seek and transfer. */
  readonly readMs: Latency
  /** Time until the device has accepted a write, without seek and transfer. */
  readonly writeMs: Latency
  /** Time of a cache flush. */
  readonly syncMs: Latency
  readonly readBytesPerSecond: number
  readonly writeBytesPerSecond: number
  /** Operations served at the same time; more wait. They share the bandwidth. */
  readonly queueDepth: number
  /** Un-synced bytes that the cache holds; when it has more, the oldest go to the medium unasked. */
  readonly cacheBytes: number
  /** Absent for media without moving parts. */
  readonly seek?: Seek
}

export type DeviceOperation = 'read' | 'write' | 'durable write' | 'sync' | 'trim'

/** Some numbers of a model; the others stay. */
export type ModelOverride = {
  readonly [Part in keyof DeviceModel]?: DeviceModel[Part] extends number
    ? number
    : Partial<DeviceModel[Part]>
}

const FASTEST = 0.8

/**
 * NVMe SSD of the read-intensive datacentre class, 1.92 TB, TLC, PCIe 3 x4, power-loss protected (Samsung PM983, Intel
 * P4510: 4 KiB random read 80 to 90 µs, write 15 to 25 µs, 3,000 / 1,100 MB/s).
 */
export const SSD: DeviceModel = {
  // Data sheets: typical 85 µs; quality of service at 99 %, queue depth 1: about 0.15 ms. Reads that wait for an erase: ms.
  readMs: { median: 0.085, p99: 0.15, max: 5 },
  // Data sheets: typical 20 µs, as the write ends in protected RAM; 99 %: about 0.06 ms. Garbage collection: ms.
  writeMs: { median: 0.02, p99: 0.06, max: 5 },
  // Not the drive (its flush is nearly free) but the way to it: `writev` + `fdatasync` of prewritten space took 244 µs
  // as Node sees it, of which this is the flush; the tail is that of a file system's journal.
  syncMs: { median: 0.2, p99: 1, max: 20 },
  readBytesPerSecond: 3_000_000_000,
  writeBytesPerSecond: 1_100_000_000,
  // 540,000 random reads a second at 85 µs each would be 46 at a time; sustained mixes reach less.
  queueDepth: 32,
  // Bounds the memory of a simulation; a kernel's page cache would hold more.
  cacheBytes: 16 * MiB,
}

/** Nearline SATA/SAS disk, 8 TB, 7,200 rpm (Seagate Exos 7E8, HGST Ultrastar class). */
export const HDD: DeviceModel = {
  // Overhead of a command: about 0.1 ms. The tail is the drive's own retries: some turns of the platter.
  readMs: { median: 0.1, p99: 0.5, max: 100 },
  writeMs: { median: 0.1, p99: 0.5, max: 100 },
  // A flush waits for the platter: half a turn at the median, and for a seek to the journal in the tail.
  syncMs: { median: 4.2, p99: 17, max: 100 },
  // Data sheets: up to 249 MB/s on the outer tracks, half of that on the inner ones; this is in between.
  readBytesPerSecond: 200_000_000,
  writeBytesPerSecond: 200_000_000,
  // One arm.
  queueDepth: 1,
  cacheBytes: 16 * MiB,
  // Data sheets: average seek 8.5 ms; with the root law that is a full stroke of 16 ms (0.6 + 15.4 × 8/15 = 8.8).
  // 7,200 rpm: 8.33 ms a turn.
  seek: { trackMs: 0.6, fullStrokeMs: 16, rotationMs: 60_000 / 7200, strokeBytes: 8 * TiB },
}

/** The model with some of its numbers replaced. */
export function overrideModel(model: DeviceModel, override: ModelOverride): DeviceModel {
  const { readMs, writeMs, syncMs, seek, ...numbers } = override
  const arm = model.seek ?? (seek && HDD.seek)
  return {
    ...model,
    ...numbers,
    readMs: { ...model.readMs, ...readMs },
    writeMs: { ...model.writeMs, ...writeMs },
    syncMs: { ...model.syncMs, ...syncMs },
    ...(arm && { seek: { ...arm, ...seek } }),
  }
}

/** Milliseconds from the start of the operation until its first byte: overhead, seek, rotation. */
export function accessMs(
  model: DeviceModel,
  operation: DeviceOperation,
  offset: number,
  lastOffset: number,
  random: Random,
): number {
  if (operation === 'sync') return drawLatency(model.syncMs, random)
  const overhead = drawLatency(operation === 'read' ? model.readMs : model.writeMs, random)
  // A trim changes tables, not the platter.
  if (operation === 'trim') return overhead
  const access = overhead + seekMs(model.seek, Math.abs(offset - lastOffset), random)
  // A durable write waits for its flush, too. What it spares is a call, for which the model has no time.
  return operation === 'durable write' ? access + drawLatency(model.syncMs, random) : access
}

/** Milliseconds for which so many bytes take the whole bandwidth. */
export function transferMs(model: DeviceModel, operation: DeviceOperation, length: number): number {
  if (operation === 'read') return (length / model.readBytesPerSecond) * 1000
  if (operation === 'write' || operation === 'durable write') {
    return (length / model.writeBytesPerSecond) * 1000
  }
  return 0
}

/**
 * Milliseconds that the operation takes on a device with nothing else to do. `lastOffset`: the byte after the last one
 * that the device read or wrote, where its arm is.
 */
export function serviceMs(
  model: DeviceModel,
  operation: DeviceOperation,
  offset: number,
  lastOffset: number,
  length: number,
  random: Random,
): number {
  return accessMs(model, operation, offset, lastOffset, random) + transferMs(model, operation, length)
}

/** Up to a track's worth of bytes (about 1 MiB at this density) ahead, the head is nearly there: no arm moves. */
const TRACK_BYTES = 1024 * KiB

function seekMs(seek: Seek | undefined, distance: number, random: Random): number {
  if (!seek || distance === 0) return 0
  const rotation = fraction(random) * seek.rotationMs
  if (distance < TRACK_BYTES) return rotation
  const stroke = Math.min(1, distance / seek.strokeBytes)
  return seek.trackMs + (seek.fullStrokeMs - seek.trackMs) * Math.sqrt(stroke) + rotation
}

/** Half of the draws lie below the median, and the upper ones thin out towards the tail. */
function drawLatency(latency: Latency, random: Random): number {
  const at = fraction(random)
  if (at < 0.5) return latency.median * (FASTEST + (1 - FASTEST) * 2 * at)
  if (at < 0.99) return between(latency.median, latency.p99, (at - 0.5) / 0.49)
  return between(latency.p99, latency.max, (at - 0.99) / 0.01)
}

/** Grows with the fourth power: most of the way to `high` is in the last tenth. */
function between(low: number, high: number, at: number): number {
  return low + (high - low) * at * at * at * at
}

/** 0 up to, not including, 1. */
function fraction(random: Random): number {
  return random.u32() / 2 ** 32
}
