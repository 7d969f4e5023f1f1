/** The style of the inspector's pages, for screens of any width, light and dark. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #57606a; --line: #d5dae0; --accent: #0757b8; --on-accent: #fff;
  --good: #12703a; --good-back: #dcf5e4; --bad: #ae1f27; --bad-back: #fde4e4; --warn: #7a4d00; --warn-back: #fdf0d0;
  --info: #0757b8; --info-back: #e2eefd; --plain-back: #eceff3;
  --c0: #0757b8; --c1: #b3440b; --c2: #12703a; --c3: #8336b5; --c4: #9a1750; --c5: #4d5b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0e1116; --card: #171b22; --text: #e8ecf1; --soft: #a3adb9; --line: #313944; --accent: #7db8ff; --on-accent: #0b1a2c;
    --good: #79d99a; --good-back: #12331f; --bad: #ff9f9a; --bad-back: #451a1c; --warn: #f3c969; --warn-back: #3b2d0a;
    --info: #8fc2ff; --info-back: #14304f; --plain-back: #252c36;
    --c0: #7db8ff; --c1: #ffae70; --c2: #79d99a; --c3: #d5a6ff; --c4: #ff9cc4; --c5: #d3d96a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; padding: .6rem max(1rem, calc(50vw - 40rem)); background: var(--card); border-bottom: 1px solid var(--line); }
h1 { margin: 0; font-size: 1.1rem; }
h2 { margin: 0 0 .75rem; font-size: 1rem; }
h3 { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .5rem; margin: 0 0 .5rem; font-size: 1rem; overflow-wrap: anywhere; }
#live { display: flex; align-items: center; gap: .4rem; margin: 0 auto 0 0; color: var(--soft); font-size: .9rem; }
#live::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: var(--soft); }
.live:not(.paused) #live::before { background: var(--good); }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; max-width: 82rem; margin: 0 auto; padding: 1rem; }
section { min-width: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; scroll-margin-top: 4rem; }
@media (min-width: 62rem) {
  main { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  section:not(.half) { grid-column: 1 / -1; }
}
button, input { font: inherit; color: inherit; }
button { min-height: 2.25rem; padding: .25rem .8rem; background: var(--plain-back); border: 1px solid var(--line); border-radius: .4rem; cursor: pointer; }
button:hover { border-color: var(--accent); }
button[aria-pressed="true"], .login button { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
input { min-height: 2.25rem; min-width: 0; padding: .25rem .6rem; background: var(--back); border: 1px solid var(--soft); border-radius: .4rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
code { font: .9em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; unicode-bidi: isolate; }
ul, ol, dl, dd, figure { margin: 0; padding: 0; list-style: none; }
p { margin: .4rem 0; }
.fine { color: var(--soft); font-size: .85rem; font-weight: 400; }
.empty { color: var(--soft); }
.hidden, .skip:not(:focus) { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip:focus { position: absolute; z-index: 2; padding: .5rem 1rem; background: var(--card); }
.badge, .chip, .status { display: inline-block; padding: .05rem .5rem; border-radius: 1rem; background: var(--plain-back); font-size: .8rem; font-weight: 600; }
.chip { border-radius: .3rem; font-weight: 500; overflow-wrap: anywhere; }
.badge.running, .badge.continue, .s2 { background: var(--good-back); color: var(--good); }
.badge.failed, .badge.error, .badge.fatal, .badge.reset, .s5 { background: var(--bad-back); color: var(--bad); }
.badge.pause, .badge.warn, .s4 { background: var(--warn-back); color: var(--warn); }
.badge.answer, .badge.info, .s3 { background: var(--info-back); color: var(--info); }
.trap { margin: .4rem 0; padding: .4rem .6rem; border-left: 3px solid var(--bad); border-radius: .2rem; background: var(--bad-back); color: var(--text); overflow-wrap: anywhere; font-size: .9rem; }

.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: .75rem; }
.card { min-width: 0; padding: .8rem; border: 1px solid var(--line); border-radius: .5rem; }
.figures { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .5rem .6rem; }
dt { color: var(--soft); font-size: .75rem; }
dt, dd { white-space: nowrap; }
dd { font-size: .95rem; font-variant-numeric: tabular-nums; font-weight: 600; }

.plot { display: grid; grid-template: "axis drawing" 12.5rem "none times" auto / auto minmax(0, 1fr); gap: .25rem .5rem; margin-bottom: .75rem; }
.plot svg { grid-area: drawing; width: 100%; height: 100%; border-left: 1px solid var(--line); border-bottom: 1px solid var(--line); overflow: visible; }
.axis { grid-area: axis; display: flex; flex-direction: column; justify-content: space-between; margin: -.6rem 0; color: var(--soft); font-size: .75rem; text-align: right; }
.times { grid-area: times; display: flex; justify-content: space-between; color: var(--soft); font-size: .75rem; }
.grid line { stroke: var(--line); vector-effect: non-scaling-stroke; }
.line path { fill: none; stroke: currentColor; stroke-width: 2.5; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.line .p99 { stroke-width: 1.25; stroke-dasharray: 4 3; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .85rem; padding-bottom: .25rem; }
th, td { padding: .25rem .5rem .25rem 0; border-top: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; overflow-wrap: anywhere; }
tbody th { font-weight: 500; }
thead th { color: var(--soft); font-size: .8rem; font-weight: 500; border-top: 0; }
.swatch { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: .2rem; background: currentColor; vertical-align: -.05rem; }
.swatch.none { visibility: hidden; }
.key { display: inline-block; width: 1.2rem; vertical-align: middle; border-top: 2.5px solid currentColor; }
.key.thin { border-top: 1.5px dashed currentColor; }

.search { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; margin-bottom: .75rem; }
.search[hidden] { display: none; }
.search label { color: var(--soft); font-size: .9rem; }
.search input { flex: 1 1 10rem; }
summary { cursor: pointer; }
.route { border-top: 1px solid var(--line); }
.route > summary { padding: .5rem 0; overflow-wrap: anywhere; }
.lanes { padding-bottom: .75rem; }
.lane-name { margin: .25rem 0; color: var(--soft); font-size: .8rem; }
.lane { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; padding-right: 1.25rem; }
.node { position: relative; display: flex; flex-direction: column; justify-content: center; min-height: 2.75rem; padding: .25rem .7rem; border: 1px solid var(--line); border-left: 4px solid var(--info); border-radius: .4rem; background: var(--back); overflow-wrap: anywhere; max-width: 100%; }
.node.access { border-left-color: var(--c3); }
.node.response { border-left-color: var(--good); }
.node.end { border-style: dashed; border-left-width: 1px; border-left-color: var(--line); }
.node:not(:last-child)::after { content: "→"; position: absolute; right: -1.3rem; color: var(--soft); }
@media (max-width: 36rem) {
  header { flex-wrap: nowrap; gap: .4rem; }
  header button { padding: .25rem .6rem; font-size: .85rem; white-space: nowrap; }
  h1 { font-size: 1rem; white-space: nowrap; }
  #live { min-width: 0; font-size: .8rem; line-height: 1.2; }
  main { padding: .6rem; gap: .6rem; }
  section { padding: .8rem; }
  .lane { flex-direction: column; gap: 1.4rem; padding-right: 0; }
  .node:not(:last-child)::after { content: "↓"; right: auto; left: 1rem; bottom: -1.4rem; }
}

.requests > li { border-top: 1px solid var(--line); }
.requests summary { display: grid; grid-template-columns: 3.2rem minmax(0, 1fr) auto auto; align-items: baseline; gap: .15rem .75rem; padding: .5rem .25rem; list-style: none; }
.requests summary::-webkit-details-marker { display: none; }
.requests summary:hover { background: color-mix(in srgb, var(--accent) 7%, var(--card)); }
.status { text-align: center; border-radius: .3rem; font-variant-numeric: tabular-nums; }
.target { overflow-wrap: anywhere; }
.method { font-weight: 600; font-size: .85rem; }
.took { color: var(--soft); font-size: .85rem; font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.when { color: var(--soft); font-size: .85rem; white-space: nowrap; }
.chips { grid-column: 2 / -1; display: flex; flex-wrap: wrap; gap: .3rem; }
.detail { padding: .25rem .25rem 1rem; }
.timeline { display: grid; grid-template: "rows bars" auto "none scale" auto / minmax(0, auto) minmax(0, 1fr); gap: .25rem .75rem; margin: .5rem 0 .75rem; color: var(--soft); font-size: .8rem; }
.timeline .rows { grid-area: rows; }
.timeline .rows span { display: block; height: 20px; line-height: 20px; max-width: 10rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.timeline svg { grid-area: bars; width: 100%; background: var(--plain-back); border-radius: .3rem; }
.timeline .in { fill: var(--accent); } .timeline .out { fill: var(--warn); } .timeline .bad { fill: var(--bad); }
.scale { grid-area: scale; display: flex; justify-content: space-between; }
.event { display: grid; grid-template-columns: 5rem auto minmax(0, 1fr) auto 4.5rem; align-items: baseline; gap: .2rem .6rem; padding: .3rem 0; border-top: 1px dashed var(--line); }
.event.log { grid-template-columns: 5rem auto auto minmax(0, 1fr); }
.event > p, .diff { grid-column: 2 / -1; }
.at { color: var(--soft); font-size: .8rem; font-variant-numeric: tabular-nums; text-align: right; }
.line { white-space: pre-wrap; }
.diff { overflow: hidden; border-radius: .3rem; }
.diff li { padding: .1rem .5rem; }
.diff .sign { display: inline-block; width: 1rem; font-weight: 700; }
.diff .of { display: inline-block; min-width: 4.2rem; font-size: .8rem; }
.diff .added { background: var(--good-back); color: var(--good); }
.diff .removed { background: var(--bad-back); color: var(--bad); }
.diff code { color: var(--text); }
@media (max-width: 48rem) {
  .requests summary { grid-template-columns: 3rem minmax(0, 1fr) auto; }
  .when { grid-column: 3; grid-row: 2; text-align: right; }
  .chips { grid-column: 2; }
  .event, .event.log { grid-template-columns: 3.6rem minmax(0, 1fr) auto; padding: .45rem 0; }
  .event .at { text-align: left; }
  .event > .took { grid-column: 3; grid-row: 1; }
  .event .chip { justify-self: start; }
  .event .what { grid-column: 1 / span 2; }
  .event .line, .event > p, .diff { grid-column: 1 / -1; }
}
.login main { display: block; max-width: 24rem; margin: 12vh auto; padding: 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.login form { display: grid; gap: .5rem; margin-top: 1rem; }
@media (max-width: 30rem) { .login main { margin: 2rem 1rem; } }
@media (forced-colors: active) { .badge, .chip, .status, .diff li { border: 1px solid; } }
`
