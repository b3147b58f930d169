/** How a container is exported: what is left out, and what may not be. */
import type { ExportOptions } from '../api.ts'
import { HitherError } from '../base/errors.ts'

const LOOPBACK: readonly string[] = ['127.0.0.0/8', '::1/128']
const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/
const IPV6 = /^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/

/** With defaults for what is left out. @throws `BAD_SETTING` */
export function checkExport(options: Partial<ExportOptions>): ExportOptions {
  const allow = options.allow ?? LOOPBACK
  const squash = options.squash ?? 'root'
  for (const network of allow) {
    if (!isNetwork(network)) {
      throw new HitherError('BAD_SETTING', `${network} is neither an address nor a network as in 10.0.0.0/8`)
    }
  }
  if (!['none', 'root', 'all'].includes(squash)) {
    throw new HitherError('BAD_SETTING', `squash is none, root or all, not ${String(squash)}`)
  }
  return { allow: [...allow], readOnly: options.readOnly === true, squash }
}

function isNetwork(text: string): boolean {
  const [address, prefix, ...more] = text.split('/')
  if (address === undefined || more.length > 0) return false
  const parts = IPV4.exec(address)
  const isAddress = parts === null ? IPV6.test(address) : parts.slice(1).every((part) => Number(part) <= 255)
  const bits = parts === null ? 128 : 32
  return isAddress && (prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits))
}
