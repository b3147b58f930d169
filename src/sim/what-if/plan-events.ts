/** The `[[event]]` entries of a plan: what happens when, and whether there will be such a target at that time. */
import type { EventAction, EventPlan, VmPlan } from './plan.ts'
import type { Section } from './section.ts'
import { DEVICE_BYTES_MIN } from './section.ts'

const ACTIONS = ['migrate', 'fail', 'hang', 'recover', 'add-node', 'remove-node', 'fail-device'] as const

/** What events may refer to. */
export interface EventScope {
  /** Nodes at the start; each `add-node` adds the next number. */
  readonly nodes: number
  readonly vms: readonly VmPlan[]
  readonly durationMs: number
  readonly hasHdd: boolean
}

/** In order of time; of two at the same time, as written. */
export function readEvents(sections: readonly Section[], scope: EventScope): EventPlan[] {
  const timed = sections.map((section) => {
    const atMs = section.requiredDuration('at')
    if (atMs >= scope.durationMs) throw section.bad('at', 'is before the end of the run (run.duration)')
    return { section, atMs, action: section.requiredChoice('do', ACTIONS) }
  })
  timed.sort((a, b) => a.atMs - b.atMs)
  let { nodes } = scope
  return timed.map(({ section, atMs, action }) => {
    const event = readAction(section, action, nodes, scope)
    section.finish()
    if (action === 'add-node') nodes++
    return { atMs, ...event }
  })
}

function readAction(
  section: Section,
  action: (typeof ACTIONS)[number],
  nodes: number,
  scope: EventScope,
): EventAction {
  switch (action) {
    case 'migrate': {
      const vm = section.requiredText('vm')
      if (!scope.vms.some((one) => one.name === vm)) throw section.bad('vm', 'is the name of a [[vm]]')
      return { do: action, vm, to: section.requiredNode('to', nodes) }
    }
    case 'add-node': {
      const ssdBytes = section.size('ssd', DEVICE_BYTES_MIN)
      const hddBytes = section.size('hdd', 0)
      return {
        do: action,
        ...(ssdBytes === undefined ? {} : { ssdBytes }),
        ...(hddBytes === undefined ? {} : { hddBytes }),
      }
    }
    case 'fail-device': {
      const device = section.requiredText('device')
      const [, number, tier] = /^node-([1-9]\d*)\.(ssd|hdd)0$/.exec(device) ?? []
      if (!(Number(number) <= nodes) || (tier === 'hdd' && !scope.hasHdd)) {
        const or = scope.hasHdd ? ' or "node-1.hdd0"' : ''
        throw section.bad('device', `is a device like "node-1.ssd0"${or} of one of ${nodes} nodes`)
      }
      return { do: action, device }
    }
    default:
      return { do: action, node: section.requiredNode('node', nodes) }
  }
}

/** As a person says it: `fail node-2`, `migrate db to node-3`. */
export function describeEvent(event: EventAction): string {
  switch (event.do) {
    case 'migrate':
      return `migrate ${event.vm} to ${event.to}`
    case 'add-node':
      return 'add a node'
    case 'fail-device':
      return `fail device ${event.device}`
    case 'remove-node':
      return `remove ${event.node}`
    default:
      return `${event.do} ${event.node}`
  }
}
