import { randomFillSync } from 'node:crypto'
import type { HostFunctions } from '../abi/host-functions.ts'
import type { Instance } from '../instance.ts'
import { beginLong, timeLeft } from '../metering/clock.ts'
import { ProcessExit } from './process-exit.ts'

/** The error numbers of WASI preview 1 that are answered here. */
export const Errno = {
  Success: 0,
  BadF: 8,
  Fault: 21,
  Inval: 28,
  Io: 29,
  NoEnt: 44,
  NoSys: 52,
  NotSup: 58
} as const

const RANDOM_MAX = 65536
/** Bytes that one call writes, and the vectors that it may have. Who writes more is told how much was taken, and calls again. */
const WRITE_MAX = 65536
const VECTORS_MAX = 1024
/** A sleep holds the event loop, so one call sleeps no longer than this; Go's runtime calls again. */
const SLEEP_MAX_MS = 100
const SUBSCRIPTION_SIZE = 48
const EVENT_SIZE = 32

/**
 * The part of WASI preview 1 that filters ask for, under both of its names: clocks, randomness, the
 * environment that the plugin was given, and standard output and error as log lines. There is no file and no socket.
 */
export function createWasi(instance: Instance): HostFunctions {
  const { memory, standardStreams, clock: host } = instance
  const environment = Object.entries(instance.settings.environment).map(([name, value]) =>
    Buffer.from(`${name}=${value}\0`)
  )
  const isStandard = (fd: number) => fd === 1 || fd === 2

  function write(fd: number, iovs: number, count: number, returnSize: number): number {
    if (!isStandard(fd)) return Errno.BadF
    const n = count >>> 0
    // A start section may write before the host can see its memory.
    if (memory.size === 0) return Errno.Success
    if (!memory.has(iovs, n * 8) || !memory.has(returnSize, 4)) return Errno.Fault
    if (n > VECTORS_MAX) return Errno.Inval
    const pieces: Buffer[] = []
    let size = 0
    for (let i = 0; i < n; i++) {
      const at = (iovs >>> 0) + i * 8
      const piece = memory.view(memory.u32(at), memory.u32(at + 4))
      if (piece === undefined) return Errno.Fault
      pieces.push(piece)
      size += piece.length
    }
    // It may be very many lines.
    beginLong()
    // Nobody has more to say than the memory holds: it would be one piece named over and over.
    if (size > memory.size) return Errno.Inval
    let written = 0
    for (const piece of pieces) {
      const taken = piece.subarray(0, WRITE_MAX - written)
      standardStreams.write(fd, taken)
      written += taken.length
    }
    memory.setU32(returnSize, written)
    return Errno.Success
  }

  return {
    proc_exit(exitCode: number): void {
      const exit = new ProcessExit(exitCode)
      // A module may catch what is thrown through it. It has ended itself all the same; an entry function may do so.
      if (instance.current !== undefined) instance.fail(instance.entry, exit)
      throw exit
    },
    sched_yield: () => Errno.Success,

    args_get: () => Errno.Success,
    args_sizes_get: (returnCount: number, returnSize: number) => giveSizes(returnCount, returnSize, 0, 0),

    environ_get(pointers: number, bytes: number): number {
      const size = environment.reduce((sum, entry) => sum + entry.length, 0)
      if (!memory.has(pointers, environment.length * 4) || !memory.has(bytes, size)) return Errno.Fault
      let at = bytes >>> 0
      environment.forEach((entry, i) => {
        memory.setU32((pointers >>> 0) + i * 4, at)
        memory.write(at, entry)
        at += entry.length
      })
      return Errno.Success
    },
    environ_sizes_get(returnCount: number, returnSize: number): number {
      const size = environment.reduce((sum, entry) => sum + entry.length, 0)
      return giveSizes(returnCount, returnSize, environment.length, size)
    },

    clock_res_get(clock: number, returnResolution: number): number {
      if (clock !== 0 && clock !== 1) return Errno.NotSup
      if (!memory.has(returnResolution, 8)) return Errno.Fault
      memory.setU64(returnResolution, 1n)
      return Errno.Success
    },
    clock_time_get(clock: number, _precision: bigint, returnTime: number): number {
      if (clock !== 0 && clock !== 1) return Errno.NotSup
      if (!memory.has(returnTime, 8)) return Errno.Fault
      memory.setU64(returnTime, timeOf(clock))
      return Errno.Success
    },

    random_get(buffer: number, size: number): number {
      if (size >>> 0 > RANDOM_MAX) return Errno.Inval
      const view = memory.view(buffer, size)
      if (view === undefined) return Errno.Fault
      randomFillSync(view)
      return Errno.Success
    },

    fd_write: write,
    fd_pwrite: (fd: number, iovs: number, count: number, _offset: bigint, returnSize: number) =>
      write(fd, iovs, count, returnSize),
    fd_read: () => Errno.NoSys,
    fd_pread: () => Errno.NoSys,
    fd_close: (fd: number) => (isStandard(fd) ? Errno.Success : Errno.BadF),
    fd_seek: (fd: number) => (isStandard(fd) ? Errno.NotSup : Errno.BadF),
    fd_fdstat_get(fd: number, returnStat: number): number {
      if (!isStandard(fd)) return Errno.BadF
      if (!memory.has(returnStat, 24)) return Errno.Fault
      memory.write(returnStat, Buffer.alloc(24))
      // rights_base: fd_write
      memory.setU64((returnStat >>> 0) + 8, 64n)
      return Errno.Success
    },
    fd_fdstat_set_flags: () => Errno.NoSys,
    // No directory is open: the scan for them ends at the first answer.
    fd_prestat_get: () => Errno.BadF,
    fd_prestat_dir_name: () => Errno.NoSys,
    fd_filestat_get: () => Errno.BadF,
    path_open: () => Errno.NoEnt,

    /**
     * Waits for the first clock among the subscriptions, and reports it: Rust's standard library wants exactly the event
     * that it subscribed to, and any error makes Go throw.
     */
    poll_oneoff(subscriptions: number, events: number, count: number, returnCount: number): number {
      const n = count >>> 0
      if (
        !memory.has(subscriptions, n * SUBSCRIPTION_SIZE) ||
        !memory.has(events, n * EVENT_SIZE) ||
        !memory.has(returnCount, 4)
      ) {
        return Errno.Fault
      }
      if (n > VECTORS_MAX) return Errno.Inval
      let first = Number.POSITIVE_INFINITY
      let firstAt = -1
      for (let i = 0; i < n; i++) {
        const at = (subscriptions >>> 0) + i * SUBSCRIPTION_SIZE
        if (memory.view(at + 8, 1)![0] !== 0) continue // no clock
        const wait = waitOf(at)
        if (wait < first) {
          first = wait
          firstAt = at
        }
      }
      if (firstAt === -1) {
        memory.setU32(returnCount, 0)
        return Errno.Success
      }
      if (first > 0) {
        beginLong()
        // No longer than the call may take: then it is stopped.
        const longest = Math.min(SLEEP_MAX_MS, Math.ceil(timeLeft()))
        host.sleep(Math.min(first, longest))
      }
      const userdata = memory.u64(firstAt)
      memory.write(events, Buffer.alloc(EVENT_SIZE))
      memory.setU64(events, userdata)
      memory.setU32(returnCount, 1)
      return Errno.Success
    }
  }

  function giveSizes(returnCount: number, returnSize: number, count: number, size: number): number {
    if (!memory.has(returnCount, 4) || !memory.has(returnSize, 4)) return Errno.Fault
    memory.setU32(returnCount, count)
    memory.setU32(returnSize, size)
    return Errno.Success
  }

  /** @param clock 0: the wall clock, 1: the monotonic one */
  function timeOf(clock: number): bigint {
    return clock === 0 ? host.wall() : host.monotonic()
  }

  /** Milliseconds until a clock subscription is due. */
  function waitOf(subscription: number): number {
    const clock = memory.u32(subscription + 16)
    const timeout = memory.u64(subscription + 24)
    const absolute = (memory.view(subscription + 40, 1)![0]! & 1) === 1
    return Number(absolute ? timeout - timeOf(clock) : timeout) / 1e6
  }
}
