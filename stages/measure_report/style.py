"""How the page looks: by day, by night, on paper, and on a telephone."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f6f3; --sheet: #fcfcfb; --ink: #14140f; --quiet: #55544f; --faint: #6f6d67; --grid: #e3e2dc;
  --rule: #cfcec6;
  --t1: #2a78d6; --t2: #d9541f; --t3: #12865f; --t4: #5a48b8;
  --o1: #8fbcf2; --o2: #4f93e4; --o3: #2a6fc4; --o4: #1b4f93; --o5: #0d3162;
  --good: #0b6b3a; --good-ground: #e2f3e8; --new: #8f3a10; --new-ground: #fbe9df; --mark: #fff1c2;
  --mark-ink: #5c4300; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0e0e0d; --sheet: #191918; --ink: #f4f3ee; --quiet: #c3c2b7; --faint: #a09e96; --grid: #2d2d2a;
  --rule: #45443f;
  --t1: #5a9df0; --t2: #f0834f; --t3: #2fb98a; --t4: #a99cf2;
  --o1: #2460ab; --o2: #3f86dd; --o3: #6fa9ee; --o4: #a3c9f6; --o5: #d5e6fb;
  --good: #7fd6a4; --good-ground: #15301f; --new: #f5ab86; --new-ground: #3a2014; --mark: #453707;
  --mark-ink: #ffe9a3; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main, header, footer { max-width: 74rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
header { padding-top: 2.5rem; padding-bottom: .5rem; }
footer { padding-top: 1rem; padding-bottom: 3rem; color: var(--faint); font-size: .875rem; }
h1 { margin: 0; font-size: clamp(1.6rem, 5vw, 2.25rem); line-height: 1.15; letter-spacing: -.015em; }
h2 { margin: 0; font-size: 1.375rem; line-height: 1.25; letter-spacing: -.01em; }
h3 { margin: 2rem 0 .25rem; font-size: 1.0625rem; }
p { margin: .5rem 0; max-width: 46rem; text-wrap: pretty; }
.meta, .note { color: var(--quiet); font-size: .9375rem; overflow-wrap: anywhere; }
.meta { max-width: none; }
section { background: var(--sheet); border: 1px solid var(--grid); border-radius: 12px;
  margin: 1.25rem 0; padding: clamp(1rem, 3vw, 2rem); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 .5rem; padding: 0; list-style: none; }
.tiles li { border-left: 3px solid var(--t1); padding: .1rem 0 .1rem .75rem; }
.tiles span { display: block; color: var(--quiet); font-size: .875rem; }
.tiles strong { display: block; font-size: 1.5rem; line-height: 1.2; font-weight: 650;
  overflow-wrap: anywhere; }
.tiles .long { font-size: 1.0625rem; line-height: 1.35; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 1.5rem 2rem; margin-top: 1.25rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .25rem 0; padding: 0;
  list-style: none; color: var(--quiet); font-size: .875rem; }
.key { display: inline-block; width: 1rem; height: .625rem; margin-right: .4rem; border-radius: 2px;
  background: var(--tone); }
svg { display: block; width: 100%; max-width: 580px; height: auto; margin-top: .5rem; }
svg.slim, svg.vast { display: none; }
.across svg.vast { max-width: none; }
svg text { fill: var(--quiet); font: 12px system-ui, -apple-system, "Segoe UI", sans-serif;
  font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--faint); }
svg .count, svg .inside { fill: var(--ink); }
svg .inside { font-weight: 600; }
.grid { stroke: var(--grid); stroke-width: 1; }
.t1 { --tone: var(--t1); } .t2 { --tone: var(--t2); } .t3 { --tone: var(--t3);
  } .t4 { --tone: var(--t4); }
.o1 { --tone: var(--o1); } .o2 { --tone: var(--o2); } .o3 { --tone: var(--o3); } .o4 { --tone: var(--o4);
  } .o5 { --tone: var(--o5); }
svg .line { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linejoin: round; }
svg .band { fill: var(--tone); stroke: var(--sheet); stroke-width: 1; }
svg .limit { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 5 4; }
.rule { stroke: var(--rule); stroke-width: 1; }
svg .interval { stroke: var(--tone); stroke-width: 6; opacity: .25; stroke-linecap: round; }
svg .thin { stroke-width: 2; }
svg .spread { stroke: var(--tone); stroke-width: 2; opacity: .6; }
svg circle { fill: var(--tone); stroke: var(--sheet); stroke-width: 2; }
svg circle.hollow { fill: var(--sheet); stroke: var(--tone); }
svg .stay { fill: var(--tone); opacity: .26; }
svg .odd { opacity: .5; }
.across { grid-column: 1 / -1; }
svg .tick { stroke: var(--tone); stroke-width: 2; }
.wide { overflow-x: auto; margin-top: 1.25rem; }
.plots .wide { margin-top: 0; min-width: 0; align-self: start; }
.wide { background: linear-gradient(to left, var(--sheet) 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--rule), transparent) right / .75rem 100% no-repeat scroll; }
.wide:focus-visible { outline: 2px solid var(--t1); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem; line-height: 1.25rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: 6px .9rem 6px 0;
  border-bottom: 1px solid var(--grid); unicode-bidi: isolate; }
thead th { color: var(--quiet); font-weight: 600; border-bottom: 1px solid var(--rule);
  vertical-align: bottom; }
tbody th { font-weight: 500; position: sticky; left: 0; z-index: 1; background: var(--sheet); }
td { min-width: 4.5rem; overflow-wrap: anywhere; }
td.name { min-width: 12rem; }
.number { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
td ul { margin: 0; padding: 0; list-style: none; }
td ul ul { padding-left: .9rem; }
.wide:not(.roomy) :is(th, td) { white-space: nowrap; overflow-wrap: normal; }
.said { display: inline-block; min-width: 7rem; max-width: 20rem; white-space: normal;
  overflow-wrap: break-word; }
.roomy td { min-width: 14rem; }
code { font: .8125rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; }
.badge { display: inline-block; border-radius: 999px; padding: .02rem .55rem; font-size: .8125rem;
  font-weight: 600; white-space: nowrap; }
.same { color: var(--good); background: var(--good-ground); }
.new { color: var(--new); background: var(--new-ground); }
.changed { color: var(--mark-ink); background: var(--mark); }
details { margin-top: 1.25rem; }
summary { cursor: pointer; font-weight: 600; }
details .wide { margin-top: .75rem; }
@media (max-width: 34rem) { svg.broad { display: none; } svg.slim { display: block; } }
@media (min-width: 63rem) { .across svg.broad { display: none; } .across svg.vast { display: block; } }
@media print {
  :root { color-scheme: light; --page: #fff; --sheet: #fff; --ink: #000; --quiet: #333; --faint: #444;
  --grid: #ddd; --rule: #999;
    --t1: #2a78d6; --t2: #d9541f; --t3: #12865f; --t4: #5a48b8;
    --o1: #8fbcf2; --o2: #4f93e4; --o3: #2a6fc4; --o4: #1b4f93; --o5: #0d3162;
    --good: #0b6b3a; --good-ground: #fff; --new: #8f3a10; --new-ground: #fff; --mark: #fff1c2;
    --mark-ink: #000; }
  body { font-size: 10pt; }
  section { border: 0; padding: 0; margin: 1.5rem 0; }
  .badge { border: 1px solid; print-color-adjust: exact; }
  figure, tr, .tiles { break-inside: avoid; }
  .wide { overflow: visible; }
  svg.slim, .across svg.vast { display: none; } svg.broad, .across svg.broad { display: block; }
}
"""
