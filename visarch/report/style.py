"""The page's one style sheet: for a screen or a phone, by day and by night."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #faf9f7; --card: #ffffff; --ink: #1c1e21; --muted: #5d636c; --line: #e2e1de;
  --train: #2563ae; --validation: #c2570c; --alarm: #b42318; --alarm-page: #fdf0ec;
  --code: #f1f0ed;
  --run-1: #2563ae; --run-2: #c2570c; --run-3: #1a7f4b; --run-4: #a3268f; --run-5: #0e7f8c;
  --run-6: #8a6d00; --run-7: #6a51c8; --run-8: #b42338;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141619; --card: #1b1e22; --ink: #e7e8ea; --muted: #a0a6b0; --line: #31353b;
    --train: #7ab5f5; --validation: #ffa45c; --alarm: #ff8f80; --alarm-page: #33201d;
    --code: #24282d;
    --run-1: #7ab5f5; --run-2: #ffa45c; --run-3: #6fd39b; --run-4: #f08bdc; --run-5: #5fd0dd;
    --run-6: #e3c34e; --run-7: #b3a4ff; --run-8: #ff8f80;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 74rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 3rem 0 1rem; font-size: 1.25rem; }
h2 small { font-weight: normal; }
h3 { margin: 1rem 0 .5rem; font-size: 1rem; }
p { margin: .25rem 0; }
a { color: var(--train); }
small, .eyebrow, dt, th { color: var(--muted); font-size: .85rem; }
.eyebrow { letter-spacing: .03em; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: 1rem; font-size: .9rem; }
.badge {
  display: inline-block; padding: 0 .6rem; border: 1px solid var(--line); border-radius: 1rem;
  font-size: .85rem; white-space: nowrap;
}
.badge.open { border-color: var(--validation); color: var(--validation); }
.alarm {
  margin: 1rem 0; padding: .75rem 1rem; border-left: 4px solid var(--alarm); border-radius: 4px;
  background: var(--alarm-page);
}
.alarm.mild { border-color: var(--line); background: var(--card); }
dl { margin: 0; display: grid; gap: .75rem; }
dd { margin: 0; }
.facts { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); margin-top: 1.5rem; }
.tiles { grid-template-columns: minmax(10rem, 1.3fr) repeat(auto-fill, minmax(9rem, 1fr)); }
.tiles > div { padding: .75rem 1rem; }
.tiles dd { font-size: 1.4rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles small { display: block; font-size: .8rem; font-weight: normal; line-height: 1.35; }
.tiles > .first dd { font-size: 2.1rem; font-weight: 600; line-height: 1.15; }
.tiles > div, figure {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.charts, .pictures, .beside { display: grid; gap: 1rem; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.pictures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.beside { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.strip { display: flex; flex-wrap: wrap; gap: 1rem; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.columns > * { min-width: 0; max-width: 100%; }
.columns > :last-child { flex: 1 1 22rem; }
figure { margin: 0; padding: .75rem 1rem; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figcaption { margin-bottom: .5rem; line-height: 1.4; }
.strip figure { flex: 1 1 9rem; padding: .5rem; max-width: 15rem; }
.strip figcaption { margin: .25rem 0 0; text-align: center; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.strip img { width: 100%; }
img.ink { mix-blend-mode: multiply; }
@media (prefers-color-scheme: dark) {
  img.ink { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
}
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; }
svg text { font-family: inherit; font-variant-numeric: tabular-nums; }
.key { margin-right: 1rem; font-size: .85rem; white-space: nowrap; }
.key::before {
  content: ""; display: inline-block; width: 1.1rem; height: .2rem; margin-right: .4rem;
  vertical-align: middle; background: currentColor; border-radius: 2px;
}
.key.dashed::before {
  background: repeating-linear-gradient(90deg, currentColor 0 .3rem, transparent .3rem .4rem);
}
.key.dotted::before {
  background: repeating-linear-gradient(90deg, currentColor 0 .2rem, transparent .2rem .45rem);
}
.key.train { color: var(--train); }
.key.validation { color: var(--validation); }
.run-1 { color: var(--run-1); } .run-2 { color: var(--run-2); }
.run-3 { color: var(--run-3); } .run-4 { color: var(--run-4); }
.run-5 { color: var(--run-5); } .run-6 { color: var(--run-6); }
.run-7 { color: var(--run-7); } .run-8 { color: var(--run-8); }
.legend {
  position: sticky; top: 0; z-index: 1; margin: 0 0 .5rem; padding: .5rem 0;
  background: var(--page);
}
th .key { display: inline-block; min-width: 7rem; margin: 0; white-space: normal; }
.group th { vertical-align: bottom; white-space: normal; }
.group h3 { margin-top: 2.25rem; }
.group td:first-child, .group th:first-child {
  position: sticky; left: 0; background: var(--page);
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem 1.5rem .3rem 0; text-align: left; vertical-align: top; }
td { border-top: 1px solid var(--line); min-width: 6rem; }
.name { white-space: nowrap; }
th { font-weight: normal; }
.number {
  min-width: 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
}
pre, code { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre {
  margin: .25rem 0 .75rem; padding: .6rem .8rem; white-space: pre-wrap;
  background: var(--code); border-radius: 6px; user-select: all; -webkit-user-select: all;
}
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--muted); font-size: .9rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.25rem; }
  h1 { font-size: 1.5rem; }
  th, td { padding-right: .75rem; }
  .legend { position: static; }
  td { min-width: 5rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tiles > .first { grid-column: 1 / -1; }
}
"""
