import type { PluginStatus } from '../../host/index.ts'
import { type Html, html } from './html.ts'
import type { Recorder } from './recorder.ts'
import { timeOf } from './requests-section.ts'
import { duration, size } from './units.ts'

type Health = 'running' | 'failed' | 'idle'

const HEALTH: Readonly<Record<Health, string>> = {
  running: 'running',
  failed: 'failed, starts again',
  idle: 'not started yet'
}

/** A card for each plugin. */
export function pluginsSection(status: readonly PluginStatus[], recorder: Recorder, now: number): Html {
  if (status.length === 0) return html`<p class="empty">No plugin is declared.</p>`
  return html`<ul class="cards">${status.map((plugin) => card(plugin, recorder, now))}</ul>`
}

function card(plugin: PluginStatus, { latencies, failures }: Recorder, now: number): Html {
  const { instance, name } = plugin
  const health: Health = instance !== null ? 'running' : plugin.failures > 0 ? 'failed' : 'idle'
  const latency = latencies.get(name)?.total(now)
  const last = failures.get(name)
  return html`<li class="card">
    <h3>${name} <span class="badge ${health}">${HEALTH[health]}</span></h3>
    <dl class="figures">
      ${figure('median', latency && duration(latency.median / 1000))}
      ${figure('p99', latency && duration(latency.p99 / 1000))}
      ${figure('calls', latency?.count)}
      ${figure('memory', instance === null ? undefined : size(instance.memory_bytes))}
      ${figure('in flight', plugin.http_contexts)}
      ${figure('contexts', plugin.plugin_contexts)}
      ${figure('calls out', plugin.calls)}
      ${figure('failures', plugin.failures)}
    </dl>
    ${last && html`<p class="trap">${timeOf(last.at)} <code>${last.callback}</code> failed: ${last.message}</p>`}
    <p class="fine">ABI ${plugin.abi_version}, module ${plugin.digest.slice(0, 12)}${
      instance !== null && html`, started ${timeOf(Date.parse(instance.started_at))}`
    }</p>
  </li>`
}

function figure(name: string, value: string | number | undefined): Html {
  return html`<div><dt>${name}</dt><dd>${value ?? '–'}</dd></div>`
}
