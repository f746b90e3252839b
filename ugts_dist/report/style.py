"""The style sheet of all pages, for screens of any width, dark mode and paper. It loads nothing."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1c1e21; --muted: #57606a; --line: #d0d7de; --band: #f4f6f8;
  --link: #0b5cad; --better: #0a6b2d; --worse: #b3261e; --missing: #6b5300; --problem: #fff4d6;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --text: #e6e8eb; --muted: #9aa4af; --line: #3a424b; --band: #1d2227;
    --link: #7db7ff; --better: #6fd08c; --worse: #ff8f85; --missing: #e3c565; --problem: #3a2f10;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }
p { margin: 0.5rem 0; max-width: 48rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; margin: 0; padding: 0; list-style: none; }
code, pre { font: 0.875em/1.45 ui-monospace, monospace; }
pre { margin: 0.75rem 0; padding: 0.75rem; overflow-x: auto; background: var(--band); border-radius: 6px; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
.tall { overflow-y: auto; max-height: 32rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td {
  padding: 0.3rem 0.75rem 0.3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
}
thead th { position: sticky; top: 0; background: var(--page); color: var(--muted); font-weight: 600; }
tbody th { font-weight: 400; }
.pairs tbody th { color: var(--muted); }
.number { text-align: right; white-space: nowrap; }
.long { min-width: 12rem; overflow-wrap: anywhere; }
.better, .best { color: var(--better); font-weight: 600; }
.worse { color: var(--worse); font-weight: 600; }
.missing { color: var(--missing); font-style: italic; }
.note, figcaption, footer { color: var(--muted); font-size: 0.875rem; }
.problem { padding: 0.5rem 0.75rem; background: var(--problem); border-left: 4px solid var(--missing); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
figure { margin: 0.5rem 0; }
figure img {
  display: block; max-width: 100%; height: auto; padding: 0.5rem; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px;
}
details { margin: 0.75rem 0; }
summary { cursor: pointer; }
footer { margin-top: 2rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; max-height: none; }
  table { font-size: 8pt; max-width: 100%; }
  .number { white-space: normal; }
  th, td { overflow-wrap: anywhere; }
  thead th { position: static; }
  pre { white-space: pre-wrap; overflow: visible; }
  tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; }
  details::details-content { display: block; block-size: auto; content-visibility: visible; }
}
"""
