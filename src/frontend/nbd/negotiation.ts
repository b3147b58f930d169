/**
 * The handshake of one connection: fixed newstyle, and the options with which a client finds and chooses its export.
 *
 * 1. The server greets; the client answers with its flags.
 * 2. The client sends options, one after the other; each gets its replies, the last of which says how it went.
 * 3. GO or EXPORT_NAME, when it succeeds, ends the handshake with an open vDisk. ABORT, the end of the connection, or
 *    an EXPORT_NAME that cannot be satisfied (it has no error reply) end it with nothing.
 *
 * What is no option at all, or so long that it must be an attack, throws `PROTOCOL_ERROR`. Everything else that is
 * wrong gets an error reply with a sentence, and the client may go on. How long all this may take is the connection's
 * affair.
 */
import type { VDisk, VDiskInfo } from '../../api.ts'
import { asHitherError, HitherError } from '../../base/errors.ts'
import { KiB } from '../../base/units.ts'
import { encodeMessage, optionErrorOf } from './errors.ts'
import { describeExport, type ExportDirectory, transmissionFlags } from './export-directory.ts'
import type { HandshakeChannel } from './handshake-channel.ts'
import { decodeInfoRequest, decodeMetaContextRequest, decodeString, type InfoRequest } from './option-data.ts'
import type { NegotiatedExport } from './transmission.ts'
import * as wire from './wire.ts'

/** Data of an option that is read into memory. More is skipped, and answered with TOO_BIG. */
const OPTION_BYTES_MAX = 64 * KiB
/** Data of an option that is skipped. More is an attack. */
const OPTION_BYTES_SKIPPED_MAX = wire.PAYLOAD_BYTES_MAX

/** What an option came to: another one follows, or the handshake is over, with an export or without. */
type Outcome = 'next' | 'over' | NegotiatedExport

export class Negotiation {
  readonly #channel: HandshakeChannel
  readonly #exports: ExportDirectory
  readonly #closing: () => boolean
  #structuredReplies = false
  /** The export for which `base:allocation` is selected. */
  #allocationSelectedFor: string | undefined
  #noZeroes = false

  /** While `closing()` is true, options are answered with SHUTDOWN. */
  constructor(channel: HandshakeChannel, exports: ExportDirectory, closing: () => boolean) {
    this.#channel = channel
    this.#exports = exports
    this.#closing = closing
  }

  /** Runs the handshake. The caller owns the vDisk of the export; `undefined`: there is none, end the connection. */
  async run(): Promise<NegotiatedExport | undefined> {
    await this.#channel.send(encodeGreeting())
    const flags = await this.#channel.take(4)
    if (flags === undefined) return undefined
    this.#acceptFlags(flags.readUInt32BE(0))
    for (;;) {
      const header = await this.#channel.take(wire.OPTION_HEADER_BYTES)
      if (header === undefined) return undefined
      const outcome = await this.#option(header)
      if (outcome === 'over') return undefined
      if (outcome !== 'next') return outcome
    }
  }

  #acceptFlags(flags: number): void {
    const known = wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES
    if ((flags & ~known) !== 0) {
      throw new HitherError('PROTOCOL_ERROR', `an NBD client set unknown flags 0x${flags.toString(16)}`)
    }
    this.#noZeroes = (flags & wire.HANDSHAKE_NO_ZEROES) !== 0
  }

  async #option(header: Buffer): Promise<Outcome> {
    if (
      header.readUInt32BE(0) !== wire.OPTION_MAGIC_HIGH ||
      header.readUInt32BE(4) !== wire.OPTION_MAGIC_LOW
    ) {
      throw new HitherError('PROTOCOL_ERROR', `an NBD option began with 0x${header.toString('hex', 0, 8)}`)
    }
    const option = header.readUInt32BE(8)
    const length = header.readUInt32BE(12)
    if (length > OPTION_BYTES_MAX) return this.#oversized(option, length)
    const data = await this.#channel.take(length)
    if (data === undefined) return 'over'
    if (this.#closing() && option !== wire.OPT_ABORT) return this.#refuseClosing(option)
    switch (option) {
      case wire.OPT_EXPORT_NAME:
        return this.#exportName(data)
      case wire.OPT_ABORT:
        await this.#reply(option, wire.REP_ACK)
        return 'over'
      case wire.OPT_LIST:
        return this.#list(data)
      case wire.OPT_STARTTLS:
        return this.#refuse(option, wire.REP_ERR_UNSUP, 'this server does not speak TLS')
      case wire.OPT_INFO:
      case wire.OPT_GO:
        return this.#infoOrGo(option, data)
      case wire.OPT_STRUCTURED_REPLY:
        if (data.length > 0) return this.#refuse(option, wire.REP_ERR_INVALID, 'this option carries no data')
        this.#structuredReplies = true
        return this.#reply(option, wire.REP_ACK)
      case wire.OPT_LIST_META_CONTEXT:
      case wire.OPT_SET_META_CONTEXT:
        return this.#metaContext(option, data)
      default:
        return this.#refuse(option, wire.REP_ERR_UNSUP, `option ${option} is not known here`)
    }
  }

  async #oversized(option: number, length: number): Promise<Outcome> {
    if (length > OPTION_BYTES_SKIPPED_MAX || option === wire.OPT_EXPORT_NAME) {
      throw new HitherError(
        'PROTOCOL_ERROR',
        `an NBD client announced ${length} bytes of data for option ${option}`,
      )
    }
    if (!(await this.#channel.skip(length))) return 'over'
    return this.#refuse(option, wire.REP_ERR_TOO_BIG, `an option may have at most ${OPTION_BYTES_MAX} bytes`)
  }

  async #list(data: Buffer): Promise<Outcome> {
    const option = wire.OPT_LIST
    if (data.length > 0) return this.#refuse(option, wire.REP_ERR_INVALID, 'this option carries no data')
    let infos: VDiskInfo[]
    try {
      infos = await this.#exports.list()
    } catch (error) {
      return this.#refuseFor(option, error)
    }
    const replies = infos.map((info) =>
      wire.encodeOptionReply(option, wire.REP_SERVER, encodeListEntry(info.name, describeExport(info))),
    )
    replies.push(wire.encodeOptionReply(option, wire.REP_ACK))
    await this.#channel.send(Buffer.concat(replies))
    return 'next'
  }

  async #infoOrGo(option: number, data: Buffer): Promise<Outcome> {
    const request = decodeInfoRequest(data)
    if (request === undefined) {
      return this.#refuse(option, wire.REP_ERR_INVALID, 'the data of this option is malformed')
    }
    let info: VDiskInfo | undefined
    let vdisk: VDisk | undefined
    try {
      info = await this.#exports.find(request.name)
      if (info !== undefined && option === wire.OPT_GO) vdisk = await this.#exports.open(info.name)
    } catch (error) {
      return this.#refuseFor(option, error)
    }
    if (info === undefined) return this.#refuseUnknown(option, request.name)
    if (vdisk !== undefined && this.#closing()) {
      await vdisk.close()
      return this.#refuseClosing(option)
    }
    const { size, readOnly } = vdisk ?? info
    const replies = this.#encodeInfos(option, request, info, size, readOnly)
    replies.push(wire.encodeOptionReply(option, wire.REP_ACK))
    const sent = this.#channel.send(Buffer.concat(replies))
    if (vdisk !== undefined) return this.#negotiated(info.name, vdisk)
    await sent
    return 'next'
  }

  #encodeInfos(
    option: number,
    request: InfoRequest,
    info: VDiskInfo,
    size: number,
    readOnly: boolean,
  ): Buffer[] {
    const flags = transmissionFlags(readOnly, this.#structuredReplies)
    const infos = [encodeInfo(wire.INFO_EXPORT, encodeExport(size, flags))]
    if (request.requests.has(wire.INFO_NAME)) infos.push(encodeInfo(wire.INFO_NAME, Buffer.from(info.name)))
    if (request.requests.has(wire.INFO_DESCRIPTION)) {
      infos.push(encodeInfo(wire.INFO_DESCRIPTION, encodeMessage(describeExport(info))))
    }
    if (request.requests.has(wire.INFO_BLOCK_SIZE)) {
      infos.push(encodeInfo(wire.INFO_BLOCK_SIZE, encodeBlockSizes()))
    }
    return infos.map((payload) => wire.encodeOptionReply(option, wire.REP_INFO, payload))
  }

  async #exportName(data: Buffer): Promise<Outcome> {
    const name = decodeString(data)
    if (name === undefined) throw new HitherError('PROTOCOL_ERROR', 'an NBD export name was no valid string')
    const info = await this.#exports.find(name)
    if (info === undefined) return 'over'
    const vdisk = await this.#exports.open(info.name)
    const reply = encodeExport(vdisk.size, transmissionFlags(vdisk.readOnly, this.#structuredReplies))
    const padding = Buffer.alloc(this.#noZeroes ? 0 : wire.EXPORT_NAME_PADDING_BYTES)
    void this.#channel.send(Buffer.concat([reply, padding]))
    return this.#negotiated(info.name, vdisk)
  }

  #negotiated(name: string, vdisk: VDisk): NegotiatedExport {
    return {
      vdisk,
      structuredReplies: this.#structuredReplies,
      blockStatus: this.#allocationSelectedFor === name,
    }
  }

  async #metaContext(option: number, data: Buffer): Promise<Outcome> {
    const select = option === wire.OPT_SET_META_CONTEXT
    if (select) this.#allocationSelectedFor = undefined
    if (!this.#structuredReplies) {
      return this.#refuse(option, wire.REP_ERR_INVALID, 'negotiate structured replies first')
    }
    const request = decodeMetaContextRequest(data)
    if (request === undefined) {
      return this.#refuse(option, wire.REP_ERR_INVALID, 'the data of this option is malformed')
    }
    let info: VDiskInfo | undefined
    try {
      info = await this.#exports.find(request.name)
    } catch (error) {
      return this.#refuseFor(option, error)
    }
    if (info === undefined) return this.#refuseUnknown(option, request.name)
    const queries = request.queries
    const matched =
      queries.includes(wire.BASE_ALLOCATION) ||
      (!select && (queries.length === 0 || queries.includes('base:')))
    const replies = []
    if (matched) {
      const id = select ? wire.BASE_ALLOCATION_ID : 0
      replies.push(wire.encodeOptionReply(option, wire.REP_META_CONTEXT, encodeMetaContext(id)))
      if (select) this.#allocationSelectedFor = info.name
    }
    replies.push(wire.encodeOptionReply(option, wire.REP_ACK))
    await this.#channel.send(Buffer.concat(replies))
    return 'next'
  }

  async #reply(option: number, type: number, data?: Buffer): Promise<Outcome> {
    await this.#channel.send(wire.encodeOptionReply(option, type, data))
    return 'next'
  }

  #refuse(option: number, type: number, message: string): Promise<Outcome> {
    return this.#reply(option, type, encodeMessage(message))
  }

  #refuseUnknown(option: number, name: string): Promise<Outcome> {
    const message =
      name === ''
        ? 'there is not exactly one vDisk here: name the one you want'
        : `there is no vDisk "${name}" here`
    return this.#refuse(option, wire.REP_ERR_UNKNOWN, message)
  }

  #refuseFor(option: number, error: unknown): Promise<Outcome> {
    return this.#refuse(option, optionErrorOf(error), asHitherError(error).message)
  }

  #refuseClosing(option: number): Promise<Outcome> | Outcome {
    if (option === wire.OPT_EXPORT_NAME) return 'over'
    return this.#refuse(option, wire.REP_ERR_SHUTDOWN, 'this server is shutting down')
  }
}

function encodeGreeting(): Buffer {
  const greeting = Buffer.alloc(18)
  greeting.write(wire.GREETING_MAGIC, 0, 'latin1')
  greeting.write(wire.OPTION_MAGIC, 8, 'latin1')
  greeting.writeUInt16BE(wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES, 16)
  return greeting
}

/** Size and transmission flags: the answer to EXPORT_NAME, and what INFO_EXPORT says. */
function encodeExport(size: number, flags: number): Buffer {
  const payload = Buffer.alloc(10)
  wire.writeU64(payload, size, 0)
  payload.writeUInt16BE(flags, 8)
  return payload
}

function encodeInfo(type: number, payload: Buffer): Buffer {
  const info = Buffer.alloc(2 + payload.length)
  info.writeUInt16BE(type, 0)
  payload.copy(info, 2)
  return info
}

function encodeBlockSizes(): Buffer {
  const payload = Buffer.alloc(12)
  payload.writeUInt32BE(wire.BLOCK_SIZE_MIN, 0)
  payload.writeUInt32BE(wire.BLOCK_SIZE_PREFERRED, 4)
  payload.writeUInt32BE(wire.PAYLOAD_BYTES_MAX, 8)
  return payload
}

function encodeListEntry(name: string, description: string): Buffer {
  const nameBytes = Buffer.from(name)
  const entry = Buffer.alloc(4)
  entry.writeUInt32BE(nameBytes.length, 0)
  return Buffer.concat([entry, nameBytes, encodeMessage(description)])
}

function encodeMetaContext(id: number): Buffer {
  const payload = Buffer.alloc(4 + wire.BASE_ALLOCATION.length)
  payload.writeUInt32BE(id, 0)
  payload.write(wire.BASE_ALLOCATION, 4, 'latin1')
  return payload
}
