import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { type Exchange, Progress } from '../exchange.ts'
import { withLowerCaseNames } from '../hop-by-hop.ts'
import { sendError } from '../local-response.ts'
import { NOTHING, runResponsePhase } from '../response-phase.ts'
import type { Upgrade } from '../upgrades.ts'
import type { UpstreamRequest } from './client.ts'
import { groupHeaders, sendResponse } from './response-stream.ts'
import { openWebsocket, type WebsocketAnswer } from './websocket.ts'

/** Whether what the filters have left of a request still asks for a websocket. */
export function wantsWebsocket({ plan, requestHeaders }: Exchange): boolean {
  return plan.websocket && requestHeaders.get('upgrade')?.toLowerCase() === 'websocket'
}

/**
 * Forwards a request for a websocket. When a node agrees, the filters see the head of its answer, and from then on bytes pass
 * both ways unread, until one side closes. What it answers otherwise is a response like others.
 */
export function forwardWebsocket(exchange: Exchange, request: UpstreamRequest, upgrade: Upgrade): void {
  const { reply } = exchange
  const abort = openWebsocket(request, (error, answer) => {
    if (exchange.closed || exchange.progress !== Progress.Request) {
      answer?.response.destroy()
      answer?.tunnel?.socket.destroy()
      return
    }
    if (error !== null || answer === undefined) {
      reply.log.error({ err: error }, error!.message)
      sendError(reply, error!)
      return
    }
    const { response, tunnel } = answer
    reply.code(response.statusCode!)
    reply.headers(groupHeaders(withLowerCaseNames(response.rawHeaders)))
    if (tunnel === undefined) sendResponse(exchange, response)
    else agree(exchange, tunnel, upgrade).catch(() => exchange.abort())
  })
  exchange.onAbort = abort
}

async function agree(
  exchange: Exchange,
  tunnel: NonNullable<WebsocketAnswer['tunnel']>,
  upgrade: Upgrade
): Promise<void> {
  const { reply } = exchange
  const close = () => tunnel.socket.destroy()
  exchange.onAbort = close
  // A filter may still take its agreement back.
  tunnel.socket.on('error', close)
  const payload = await runResponsePhase(exchange, '')
  if (payload === NOTHING || exchange.closed) {
    close()
    return
  }
  if (reply.statusCode !== 101) {
    close()
    reply.send(payload)
    return
  }
  reply.hijack()
  const head = upgrade.take()
  exchange.onInterrupt = () => upgrade.socket.destroy()
  upgrade.socket.write(headOf(reply), 'latin1')
  connect(upgrade.socket, head, tunnel.socket)
  connect(tunnel.socket, tunnel.head, upgrade.socket)
}

function headOf(reply: FastifyReply): string {
  let head = `HTTP/1.1 101 ${STATUS_CODES[101]}\r\nconnection: upgrade\r\nupgrade: websocket\r\n`
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    for (const one of [value].flat()) head += `${name}: ${one}\r\n`
  }
  return `${head}\r\n`
}

/** Sends on what one side says. When that is over, both are closed, as nginx does: a websocket is not for one direction. */
function connect(from: Duplex, head: Buffer, to: Duplex): void {
  if (head.length > 0) to.write(head)
  from.pipe(to)
  to.on('finish', () => from.destroy())
  from.on('close', () => to.destroy())
}
