import type { HeaderChange } from './header-changes.ts'
import { type Html, html } from './html.ts'
import type { RecordedCall, RecordedCallback, RecordedEvent, RecordedLog, RequestRecord } from './request-record.ts'
import { duration } from './units.ts'

const ACTIONS: Readonly<Record<NonNullable<RecordedCallback['action']>, string>> = {
  continue: 'continues',
  pause: 'pauses',
  answer: 'answers itself',
  reset: 'resets',
  failed: 'failed'
}

/** A time of the day; the page's script shows it in the zone of who looks. */
export function timeOf(time: number): Html {
  const iso = new Date(time).toISOString()
  return html`<time datetime="${iso}">${iso.slice(11, 19)} UTC</time>`
}

export function requestsSection(records: readonly RequestRecord[]): Html {
  return html`<ol id="requests" class="requests">${records.map(requestItem)}</ol>`
}

/** One request: a line, and below it what its filters did. */
export function requestItem(record: RequestRecord): Html {
  const { id, status } = record
  // A callback is noted when it has returned, after what it led to.
  const events = [...record.events].sort((one, other) => one.at - other.at)
  const plugins = [...new Set(events.map(({ plugin }) => plugin))]
  return html`<li id="request-${id}" data-text="${`${record.method} ${record.path} ${status ?? ''} ${plugins.join(' ')}`.toLowerCase()}">
    <details>
      <summary>
        <span class="status ${classOf(record)}">${statusOf(record)}</span>
        <span class="target"><span class="method">${record.method}</span> <code>${record.path}</code></span>
        <span class="took">${record.milliseconds === undefined ? 'under way' : duration(record.milliseconds)}</span>
        <span class="when">${timeOf(record.startedAt)}</span>
        <span class="chips">${plugins.map((plugin) => html`<span class="chip">${plugin}</span>`)}</span>
      </summary>
      <div class="detail">
        <p class="fine">${record.route === undefined ? 'no route' : html`route <code>${record.route}</code>`}${record.aborted && ', cut off: the client left, or the response was ended'}</p>
        ${events.length > 1 && timeline(record)}
        <ol class="events">${together(events).map(eventItem)}</ol>
        ${record.isCut && html`<p class="fine">More has happened than is kept.</p>`}
      </div>
    </details>
  </li>`
}

function statusOf({ status, aborted, isOver }: RequestRecord): string {
  if (status !== undefined && isOver) return String(status)
  return aborted ? 'cut' : '…'
}

function classOf({ status, isOver }: RequestRecord): string {
  if (status === undefined || !isOver) return 's0'
  return `s${Math.floor(status / 100)}`
}

const WIDTH = 1000
const ROW = 10

/** A row for each plugin: when it was called, and when it waited for an answer. */
function timeline({ events, milliseconds }: RequestRecord): Html {
  const rows = [...new Set(events.map(({ plugin }) => plugin))]
  const end = Math.max(milliseconds ?? 0, ...events.map((event) => event.at + lengthOf(event)), 0.001)
  const bars = events.map((event) => {
    if (event.kind === 'log') return undefined
    const x = Math.max(0, (event.at / end) * WIDTH)
    const width = Math.max(4, (lengthOf(event) / end) * WIDTH)
    const y = rows.indexOf(event.plugin) * ROW
    const left = Math.min(x, WIDTH - width).toFixed(1)
    return event.kind === 'call'
      ? html`<rect class="out" x="${left}" y="${y + 4}" width="${width.toFixed(1)}" height="2"/>`
      : html`<rect class="${event.action === 'failed' ? 'bad' : 'in'}" x="${left}" y="${y + 1}" width="${width.toFixed(1)}" height="8"/>`
  })
  const height = rows.length * ROW
  return html`<div class="timeline" aria-hidden="true">
    <div class="rows">${rows.map((plugin) => html`<span>${plugin}</span>`)}</div>
    <svg viewBox="0 0 ${WIDTH} ${height}" preserveAspectRatio="none" height="${rows.length * 20}">${bars}</svg>
    <div class="scale"><span>0</span><span>${duration(end)}</span></div>
  </div>`
}

function lengthOf(event: RecordedEvent): number {
  return event.kind === 'log' ? 0 : (event.milliseconds ?? 0)
}

const ENDS: ReadonlySet<string> = new Set(['proxy_on_done', 'proxy_on_log', 'proxy_on_delete'])

/** A filter is told of the end three times: where there is nothing else to say, that is one line. */
function together(events: readonly RecordedEvent[]): RecordedEvent[] {
  const lines: RecordedEvent[] = []
  for (const event of events) {
    const last = lines.at(-1)
    if (last === undefined || !isEnd(last) || !isEnd(event) || last.plugin !== event.plugin) {
      lines.push(event)
      continue
    }
    const callback = `${last.callback}, ${event.callback}`
    lines[lines.length - 1] = { ...last, callback, milliseconds: last.milliseconds + event.milliseconds }
  }
  return lines
}

function isEnd(event: RecordedEvent): event is RecordedCallback {
  return event.kind === 'callback' && event.error === undefined && ENDS.has(event.callback.split(',', 1)[0]!)
}

function eventItem(event: RecordedEvent): Html {
  const at = html`<span class="at">+${duration(Math.max(0, event.at))}</span>`
  if (event.kind === 'log') return logItem(event, at)
  return event.kind === 'call' ? callItem(event, at) : callbackItem(event, at)
}

function callbackItem({ plugin, callback, context, milliseconds, action, changes, error }: RecordedCallback, at: Html) {
  return html`<li class="event callback">
    ${at}<span class="chip">${plugin}</span>
    <span class="what"><code>${callback.replaceAll('proxy_', '')}</code> <span class="fine">context ${context}</span></span>
    ${action === undefined ? html`<span></span>` : html`<span class="badge ${action}">${ACTIONS[action]}</span>`}
    <span class="took">${duration(milliseconds)}</span>
    ${error && html`<p class="trap">${error}</p>`}
    ${changes.length > 0 && html`<ul class="diff" aria-label="Changes of headers">${changes.map(changeItem)}</ul>`}
  </li>`
}

function changeItem({ of, name, before, after }: HeaderChange): Html {
  const side = (kind: 'removed' | 'added', sign: string, value: string | undefined) =>
    value !== undefined &&
    html`<li class="${kind}"><span class="sign" aria-hidden="true">${sign}</span><span class="hidden">${kind}: </span><span class="of">${of}</span> <code><b>${name}</b>: ${value}</code></li>`
  return html`${side('removed', '−', before)}${side('added', '+', after)}`
}

function logItem({ plugin, level, line }: RecordedLog, at: Html): Html {
  return html`<li class="event log">${at}<span class="chip">${plugin}</span><span class="badge level ${level}">${level}</span><code class="line">${line}</code></li>`
}

function callItem({ plugin, upstream, method, path, status, error, milliseconds }: RecordedCall, at: Html): Html {
  const answered = method === 'gRPC' ? `closed with status ${status}` : `answered ${status}`
  const outcome = error ?? (status === undefined ? 'not answered yet' : answered)
  return html`<li class="event call">
    ${at}<span class="chip">${plugin}</span>
    <span class="what">calls <code>${method} ${upstream}${path}</code></span>
    <span class="badge ${error === undefined ? 'answer' : 'failed'}">${outcome}</span>
    <span class="took">${milliseconds === undefined ? '' : duration(milliseconds)}</span>
  </li>`
}
