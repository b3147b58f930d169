/** The networks that may use an export: CIDR, or single addresses, of IPv4 and IPv6. */
import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { clientAddress } from './rpc/client-address.ts'

/** Addresses whose answer is kept: each call asks, and the list takes a microsecond or two. */
const ANSWERS_MAX = 256

export class AllowList {
  readonly #list = new BlockList()
  readonly #answers = new Map<string, boolean>()

  /** An entry that is no network allows nobody. */
  constructor(entries: readonly string[]) {
    for (const entry of entries) this.#add(entry)
  }

  /** `address` as `clientAddress` returns it. */
  allows(address: string): boolean {
    const known = this.#answers.get(address)
    if (known !== undefined) return known
    if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
    const answer = this.#isIn(address)
    this.#answers.set(address, answer)
    return answer
  }

  #isIn(address: string): boolean {
    if (isIPv4(address)) return this.#list.check(address, 'ipv4')
    return isIPv6(address) && this.#list.check(address, 'ipv6')
  }

  #add(entry: string): void {
    const slash = entry.indexOf('/')
    const written = slash < 0 ? entry : entry.slice(0, slash)
    const address = clientAddress(written)
    const bits = isIPv4(address) ? 32 : 128
    if (!isIPv4(address) && !isIPv6(address)) return
    const text = slash < 0 ? undefined : entry.slice(slash + 1)
    if (text !== undefined && !/^\d{1,3}$/.test(text)) return
    // An IPv4 network that is written in IPv6 counts its bits from there.
    const prefix = text === undefined ? bits : Number(text) - (address === written ? 0 : 96)
    if (prefix < 0 || prefix > bits) return
    this.#list.addSubnet(address, prefix, bits === 32 ? 'ipv4' : 'ipv6')
  }
}
