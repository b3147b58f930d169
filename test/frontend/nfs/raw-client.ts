/** An NFS client that says exactly what a test wants said, and shows exactly what was answered. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { XdrReader, XdrWriter } from '../../../src/frontend/nfs/rpc/xdr.ts'
import { MOUNT_PROGRAM, NFS_PROGRAM } from '../../../src/frontend/nfs/wire.ts'

/** Who a call says it is from: AUTH_SYS with these, or AUTH_NONE. */
export type Identity =
  | {
      readonly uid: number
      readonly gid: number
      readonly groups?: readonly number[]
      readonly machine?: string
    }
  | 'none'

export const ROOT_USER: Identity = { uid: 0, gid: 0 }

export interface CallOptions {
  readonly xid?: number
  readonly as?: Identity
  readonly version?: number
}

/** An answer: the status of its acceptance, and its results. */
export interface Answer {
  readonly xid: number
  readonly denied: boolean
  readonly status: number
  readonly results: XdrReader
  /** All of the message, without the mark. */
  readonly bytes: Buffer
}

/** An NFS call as it was sent and answered, without the headers of RPC. */
export interface Exchange {
  readonly procedure: number
  readonly args: Buffer
  readonly results: Buffer
}

export class RawClient {
  readonly socket: Socket
  /** NFS calls made by `nfs`, in the order of their answers, while it is set. */
  tape: Exchange[] | undefined
  #received: Buffer = Buffer.alloc(0)
  #ended = false
  #waiting: Array<() => void> = []
  #nextXid = 1
  /** Answers that nobody has taken, by xid; several when a call was sent several times. */
  readonly #answers = new Map<number, Answer[]>()
  /** xids in the order in which answers came. */
  readonly order: number[] = []

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
      this.#split()
      this.#wake()
    })
    for (const event of ['end', 'close', 'error'] as const) {
      socket.on(event, () => {
        this.#ended = true
        this.#wake()
      })
    }
  }

  static async connect(port: number, host = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({ port, host })
    await once(socket, 'connect')
    socket.setNoDelay(true)
    return new RawClient(socket)
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Sends a call and waits for its answer. */
  async call(program: number, procedure: number, args: Buffer, options: CallOptions = {}): Promise<Answer> {
    const xid = options.xid ?? this.#nextXid++
    this.socket.write(frame(encodeCall(xid, program, procedure, args, options)))
    return this.answer(xid)
  }

  async nfs(procedure: number, args: Buffer, options: CallOptions = {}): Promise<Answer> {
    const answer = await this.call(NFS_PROGRAM, procedure, args, options)
    this.tape?.push({ procedure, args, results: answer.bytes.subarray(answer.results.at) })
    return answer
  }

  mount(procedure: number, args: Buffer, options: CallOptions = {}): Promise<Answer> {
    return this.call(MOUNT_PROGRAM, procedure, args, options)
  }

  /** Waits for the answer to `xid`. */
  async answer(xid: number): Promise<Answer> {
    for (;;) {
      const answers = this.#answers.get(xid)
      const answer = answers?.shift()
      if (answers?.length === 0) this.#answers.delete(xid)
      if (answer !== undefined) return answer
      if (this.#ended) throw new Error(`the connection ended before call ${xid} was answered`)
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    }
  }

  /** Waits until the server has closed the connection. */
  async end(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    }
  }

  close(): void {
    this.socket.destroy()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  #split(): void {
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE(0) & 0x7fff_ffff
      if (this.#received.length < 4 + length) return
      const bytes = this.#received.subarray(4, 4 + length)
      this.#received = this.#received.subarray(4 + length)
      const answer = decodeAnswer(bytes)
      const others = this.#answers.get(answer.xid)
      if (others === undefined) this.#answers.set(answer.xid, [answer])
      else others.push(answer)
      this.order.push(answer.xid)
    }
  }
}

/** Bytes that `write` wrote. */
export function xdr(write: (out: XdrWriter) => void): Buffer {
  const out = new XdrWriter()
  write(out)
  return Buffer.from(out.view())
}

/** One record of one fragment. */
export function frame(message: Buffer): Buffer {
  const mark = Buffer.alloc(4)
  mark.writeUInt32BE(0x8000_0000 + message.length)
  return Buffer.concat([mark, message])
}

/** One record, in fragments of at most `size` bytes. */
export function fragments(message: Buffer, size: number): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size)
    const mark = Buffer.alloc(4)
    mark.writeUInt32BE((at + size >= message.length ? 0x8000_0000 : 0) + part.length)
    parts.push(mark, part)
  }
  return Buffer.concat(parts)
}

export function encodeCall(
  xid: number,
  program: number,
  procedure: number,
  args: Buffer,
  options: CallOptions = {},
): Buffer {
  return xdr((out) => {
    for (const word of [xid, 0, 2, program, options.version ?? (program === 100_000 ? 2 : 3), procedure]) {
      out.u32(word)
    }
    writeCredential(out, options.as ?? ROOT_USER)
    out.u32(0)
    out.u32(0)
    out.fixed(args)
  })
}

function writeCredential(out: XdrWriter, as: Identity): void {
  if (as === 'none') {
    out.u32(0)
    out.u32(0)
    return
  }
  out.u32(1)
  out.opaque(
    xdr((body) => {
      body.u32(77)
      body.opaque(Buffer.from(as.machine ?? 'test-machine'))
      body.u32(as.uid)
      body.u32(as.gid)
      body.u32(as.groups?.length ?? 0)
      for (const group of as.groups ?? []) body.u32(group)
    }),
  )
}

function decodeAnswer(bytes: Buffer): Answer {
  const results = new XdrReader(bytes)
  const xid = results.u32()
  if (results.u32() !== 1) throw new Error('not an answer')
  const denied = results.u32() === 1
  if (!denied) {
    results.u32()
    results.opaque(400)
  }
  return { xid, denied, status: results.u32(), results, bytes }
}
