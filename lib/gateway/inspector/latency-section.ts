import { type Html, html } from './html.ts'
import { type Latency, type LatencyPoint, SLOTS } from './latency.ts'
import { duration } from './units.ts'

/** Lines that can still be told apart. */
const MAX_LINES = 6
/** The drawing is stretched to the room that it has: its text stands beside it. */
const WIDTH = 600
const HEIGHT = 200

interface Line {
  readonly plugin: string
  readonly total: LatencyPoint
  readonly points: readonly (LatencyPoint | undefined)[]
}

/** How long the callbacks of each plugin took in the last ten minutes: the median, and what one in a hundred exceeds. */
export function latencySection(latencies: ReadonlyMap<string, Latency>, now: number): Html {
  const lines: Line[] = []
  for (const [plugin, latency] of latencies) {
    const total = latency.total(now)
    if (total !== undefined) lines.push({ plugin, total, points: latency.points(now) })
  }
  if (lines.length === 0) return html`<p class="empty">No filter was called in the last ten minutes.</p>`
  lines.sort((one, other) => other.total.count - one.total.count)
  const shown = lines.slice(0, MAX_LINES)
  const decades = decadesOf(shown)
  const grid = decades.slice(1, -1).map((decade) => {
    const y = yOf(10 ** decade, decades).toFixed(1)
    return html`<line x1="0" x2="${WIDTH}" y1="${y}" y2="${y}"/>`
  })
  return html`<figure class="plot">
    <div class="axis" aria-hidden="true">${[...decades].reverse().map((decade) => html`<span>${duration(10 ** decade / 1000)}</span>`)}</div>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="Time of callbacks in the last ten minutes; the table below has the figures">
      <g class="grid">${grid}</g>
      ${shown.map(({ points }, i) => html`<g class="line c${i}">${curve(points, 'p99', decades)}${curve(points, 'median', decades)}</g>`)}
    </svg>
    <div class="times" aria-hidden="true"><span>10 min ago</span><span>5 min ago</span><span>now</span></div>
  </figure>
  <table class="legend">
    <caption>Time of callbacks, last ten minutes</caption>
    <thead><tr><th scope="col">Plugin</th><th scope="col">Median <span class="key solid" aria-hidden="true"></span></th><th scope="col">p99 <span class="key thin" aria-hidden="true"></span></th><th scope="col">Calls</th></tr></thead>
    <tbody>${lines.map(
      ({ plugin, total }, i) =>
        html`<tr><th scope="row"><span class="swatch ${i < MAX_LINES ? `c${i}` : 'none'}" aria-hidden="true"></span>${plugin}</th><td>${duration(total.median / 1000)}</td><td>${duration(total.p99 / 1000)}</td><td>${total.count}</td></tr>`
    )}</tbody>
  </table>`
}

/** Powers of ten of microseconds, from what is below all to what is above all. */
function decadesOf(lines: readonly Line[]): number[] {
  let [low, high] = [Number.POSITIVE_INFINITY, 0]
  for (const { points } of lines) {
    for (const point of points) {
      if (point === undefined) continue
      low = Math.min(low, point.median)
      high = Math.max(high, point.p99)
    }
  }
  const first = Math.max(0, Math.floor(Math.log10(low)))
  const last = Math.max(first + 2, Math.ceil(Math.log10(high)))
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
}

function yOf(microseconds: number, decades: readonly number[]): number {
  const [first, last] = [decades[0]!, decades.at(-1)!]
  return HEIGHT * (1 - (Math.log10(microseconds) - first) / (last - first))
}

/** Where nothing was measured, the line has a gap; one point alone is a short line. */
function curve(points: readonly (LatencyPoint | undefined)[], key: 'median' | 'p99', decades: readonly number[]): Html {
  const step = WIDTH / SLOTS
  let path = ''
  for (const [i, point] of points.entries()) {
    if (point === undefined) continue
    const y = yOf(point[key], decades).toFixed(1)
    const isAlone = points[i - 1] === undefined
    path += `${isAlone ? `M${(i * step).toFixed(1)} ${y}` : ''}L${((i + 1) * step).toFixed(1)} ${y}`
  }
  return html`<path class="${key}" d="${path}"/>`
}
