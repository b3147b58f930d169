/** `[devices.ssd]` and `[devices.hdd]` of a plan: a device model with some of its numbers replaced. */
import {
  type DeviceModel,
  type Latency,
  type ModelOverride,
  overrideModel,
  type Seek,
} from '../../platform/sim/device-models.ts'
import type { Section } from './section.ts'

/** The model with what the section says. */
export function readDevice(section: Section, model: DeviceModel): DeviceModel {
  const override: Writable<ModelOverride> = {}
  const read = readLatency(section, 'read', model.readMs)
  if (read !== undefined) override.readMs = read
  const write = readLatency(section, 'write', model.writeMs)
  if (write !== undefined) override.writeMs = write
  const sync = readLatency(section, 'sync', model.syncMs)
  if (sync !== undefined) override.syncMs = sync
  const readRate = section.size('read_per_second', 1)
  if (readRate !== undefined) override.readBytesPerSecond = readRate
  const writeRate = section.size('write_per_second', 1)
  if (writeRate !== undefined) override.writeBytesPerSecond = writeRate
  const queueDepth = section.whole('queue_depth', 1, 65_536)
  if (queueDepth !== undefined) override.queueDepth = queueDepth
  const cacheBytes = section.size('cache', 0)
  if (cacheBytes !== undefined) override.cacheBytes = cacheBytes
  if (model.seek !== undefined) override.seek = readSeek(section.section('seek'), model.seek)
  section.finish()
  return overrideModel(model, override)
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

function readLatency(section: Section, key: string, model: Latency): Latency | undefined {
  if (!section.has(key)) return undefined
  const table = section.section(key)
  const median = table.duration('median') ?? model.median
  const p99 = table.duration('p99') ?? model.p99
  const max = table.duration('max') ?? model.max
  table.finish()
  if (median > p99 || p99 > max) {
    throw section.clash(
      key,
      `must have median ≤ p99 ≤ max, and would have ${median} ms, ${p99} ms and ${max} ms`,
    )
  }
  return { median, p99, max }
}

function readSeek(table: Section, model: Seek): Seek {
  const seek = {
    trackMs: table.duration('track') ?? model.trackMs,
    fullStrokeMs: table.duration('full_stroke') ?? model.fullStrokeMs,
    rotationMs: table.duration('rotation') ?? model.rotationMs,
    strokeBytes: table.size('stroke', 1) ?? model.strokeBytes,
  }
  table.finish()
  return seek
}
