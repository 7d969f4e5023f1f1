import type { Chain } from '../plans.ts'
import { type Html, html } from './html.ts'

/** Routes that are shown at once. */
const MAX_ROUTES = 50

/**
 * The chain of filters of each route, as a diagram.
 *
 * @param search what the route's name, its paths or a plugin's name must have in it
 */
export function chainsSection(chains: Iterable<Chain>, search: string): Html {
  const wanted = search.toLowerCase()
  const found: Chain[] = []
  let count = 0
  for (const chain of chains) {
    if (wanted !== '' && !textOf(chain).includes(wanted)) continue
    count++
    if (found.length < MAX_ROUTES) found.push(chain)
  }
  if (count === 0) {
    return html`<p class="empty">${search === '' ? 'No route has a filter or an upstream.' : 'No such route.'}</p>`
  }
  return html`${found.map((chain, i) => diagram(chain, i === 0 && count < 5))}
    ${count > MAX_ROUTES && html`<p class="fine">and ${count - MAX_ROUTES} more: search for them</p>`}`
}

function textOf(chain: Chain): string {
  return `${titleOf(chain)} ${conditionsOf(chain)} ${chain.plan.placed.map(({ planned }) => planned.plugin).join(' ')}`.toLowerCase()
}

function titleOf({ route, own }: Chain): string {
  if (route === undefined) return 'every other request'
  return own === undefined ? route : `${own.name ?? route}`
}

/** Which requests a route of the gateway is for. */
function conditionsOf({ own }: Chain): string {
  if (own === undefined) return ''
  const uris = own.uris ?? [own.uri]
  const hosts = own.hosts ?? (own.host === undefined ? [] : [own.host])
  return [own.methods?.join(', '), ...hosts, ...uris].filter((part) => part !== undefined && part !== '').join(' ')
}

function diagram(chain: Chain, isOpen: boolean): Html {
  const { plan } = chain
  const { placed } = plan
  const rewrite = placed.map((_, i) => i).filter((i) => plan.rewrite.includes(i))
  const access = placed.map((_, i) => i).filter((i) => plan.access.includes(i))
  const filters = (indexes: readonly number[], phase: string) => indexes.map((i) => filterNode(chain, i, phase))
  const conditions = conditionsOf(chain)
  return html`<details class="route"${isOpen && html` open`}>
    <summary><strong>${titleOf(chain)}</strong>${conditions !== '' && html` <code>${conditions}</code>`} <span class="fine">${placed.length} ${placed.length === 1 ? 'filter' : 'filters'}</span></summary>
    <div class="lanes">
      <p class="lane-name">Request</p>
      <ol class="lane">
        <li class="node end">client</li>
        ${filters(rewrite, 'rewrite')}${filters(access, 'access')}
        <li class="node end">${destinationOf(chain)}</li>
      </ol>
      <p class="lane-name">Response</p>
      <ol class="lane">
        <li class="node end">${destinationOf(chain)}</li>
        ${placed.map((_, i) => filterNode(chain, i, 'response'))}
        <li class="node end">client</li>
      </ol>
    </div>
  </details>`
}

function filterNode({ globals, plan }: Chain, i: number, phase: string): Html {
  const { planned } = plan.placed[i]!
  const notes = [
    phase !== 'response' && `${phase}, priority ${planned.priority}`,
    i < globals && 'global rule',
    plan.failsOpen(i) && 'fails open',
    plan.conditions?.[i] !== undefined && 'for some requests'
  ].filter((note) => typeof note === 'string')
  return html`<li class="node ${phase}"><strong>${planned.plugin}</strong><span class="fine">${notes.join(' · ')}</span></li>`
}

function destinationOf({ plan, route }: Chain): Html | string {
  if (plan.missing !== undefined) return `503: there is no ${plan.missing.kind} ${plan.missing.id}`
  if (plan.upstream !== undefined) {
    const { name, nodes } = plan.upstream.status()
    const list = nodes.slice(0, 3).map(({ host, port, healthy }) => `${host}:${port}${healthy ? '' : ' (unhealthy)'}`)
    const more = nodes.length > 3 ? ` and ${nodes.length - 3} more` : ''
    return html`upstream${name !== undefined && ` ${name}`}<span class="fine">${list.join(', ')}${more}</span>`
  }
  return route === undefined ? 'handler, or 404' : 'handler'
}
