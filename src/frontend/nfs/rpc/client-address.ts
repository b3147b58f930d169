/** The address of a client, in one form: an IPv4 address that came through an IPv6 socket is an IPv4 address. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i
/** Link-local addresses may name the interface: `fe80::1%eth0`. */
const ZONE = /%.*$/

export function clientAddress(remote: string): string {
  const bare = remote.replace(ZONE, '')
  return MAPPED.exec(bare)?.[1] ?? bare
}
