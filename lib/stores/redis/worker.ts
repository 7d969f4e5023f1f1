import { parentPort, workerData } from 'node:worker_threads'
import { Generations } from './generations.ts'
import { Link } from './link.ts'
import { Answering } from './mailbox.ts'
import { Operations } from './operations.ts'
import { QueueLink } from './queue-link.ts'
import * as scripts from './scripts.ts'
import type { RedisSettings } from './settings.ts'

// The thread that has the connections: the one that runs filters stands still while it waits for an answer.

/** What the thread is made with. */
export interface WorkerData {
  readonly settings: RedisSettings
  readonly mailbox: SharedArrayBuffer
  readonly generations: SharedArrayBuffer
  /** Milliseconds after which an item that a process has taken, and not done with, is given to another one */
  readonly claimMs: number
}

/** What it is told; a number wakes it. */
export type ToWorker =
  | number
  | { readonly type: 'register'; readonly id: number; readonly name: string }
  | { readonly type: 'suspect' | 'acknowledge' | 'close' }

/** What it tells. */
export type FromWorker =
  | { readonly type: 'up' }
  | { readonly type: 'down'; readonly message: string; readonly isRefused: boolean }
  | { readonly type: 'warning'; readonly message: string }
  /** Items are in a queue: in which, how many have come, and how many are there in all, 0: that was not looked for */
  | { readonly type: 'items'; readonly id: number; readonly news: number; readonly waiting: number }
  /** The id of a queue is another one's */
  | { readonly type: 'refused'; readonly id: number }

const port = parentPort!
const { settings, mailbox, generations, claimMs } = workerData as WorkerData
const tell = (message: FromWorker) => port.postMessage(message)

const answering = new Answering(mailbox)
const link = new Link(settings, Object.values(scripts), answering, new Generations(generations), {
  up: () => {
    tell({ type: 'up' })
    queues.refresh()
  },
  down: (message, isRefused) => tell({ type: 'down', message, isRefused }),
  warning: (message) => tell({ type: 'warning', message }),
  message: (channel) => queues.receive(channel)
})
const queues = new QueueLink(settings, link, claimMs, tell)
const operations = new Operations(settings, link, answering, queues)

port.on('message', (message: ToWorker) => {
  if (typeof message === 'number') operations.serve()
  else if (message.type === 'register') queues.register(message.id, message.name)
  else if (message.type === 'suspect') link.suspect()
  else if (message.type === 'acknowledge') queues.acknowledge()
  else close()
})
link.connect()

async function close(): Promise<void> {
  await queues.close()
  link.close()
  port.close()
}
