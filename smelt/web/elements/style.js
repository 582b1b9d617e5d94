// One style sheet for the shadow roots of all elements. The parts are the public names; `live` is for screen readers.

/** @type {CSSStyleSheet | undefined} */
let sheet

/** Return the shared style sheet. */
export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet()
    sheet.replaceSync(colors() + CSS_TEXT)
  }
  return sheet
}

/** The colors by name: light and dark. */
const COLORS = {
  surface: ['#ffffff', '#15181e'],
  text: ['#1b1f27', '#e9ebef'],
  muted: ['#59626f', '#a7afbb'],
  border: ['#d5dae1', '#373d48'],
  track: ['#e6e9ee', '#2b303a'],
  accent: ['#1a5fd0', '#82b1ff'],
  success: ['#1a7a3a', '#6fd08c'],
  warning: ['#8a5a00', '#f0c05a'],
  danger: ['#b3261e', '#ff9d95'],
  mark: ['#ffe08a', '#6b5200'],
}

/** `light-dark()` follows the color-scheme of the page, so that a page without a dark theme has no dark elements. */
function colors() {
  const hasDark = CSS.supports('color', 'light-dark(red, red)')
  const rules = Object.entries(COLORS).map(
    ([name, [light, dark]]) =>
      `--_${name}: var(--smelt-${name}, ${hasDark ? `light-dark(${light}, ${dark})` : light});`,
  )
  return `:host { ${rules.join('')} }`
}

const CSS_TEXT = `
:host {
  --_radius: var(--smelt-radius, 10px);
  --_gap: var(--smelt-gap, 16px);
  display: block;
  position: relative;
  box-sizing: border-box;
  color: var(--_text);
  font: var(--smelt-font, inherit);
  line-height: 1.5;
  text-align: start;
  font-variant-numeric: tabular-nums;
}
:host([hidden]),
:host([idle]:empty),
[hidden],
:host([idle]) [part~=panel],
:host(:not([idle])) slot {
  display: none !important;
}
* { box-sizing: border-box; }
p, ul, ol, h3, pre { margin: 0; padding: 0; }
h3 { font: inherit; }
ul[part=files] { list-style: none; }
bdi, p, li, pre { overflow-wrap: anywhere; }
[part~=panel] {
  background: var(--_surface);
  border: 1px solid var(--_border);
  border-radius: var(--_radius);
  padding: var(--_gap);
}
[part~=panel], [part=upload], [part~=file], [part~=lines], [part~=transcript], [part~=result], [part=content],
section, .results {
  display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr);
}
.row { align-items: center; display: flex; flex-wrap: wrap; gap: 4px 10px; min-inline-size: 0; }
.grow { flex: 1 1 9em; min-inline-size: 0; }
.end { margin-inline-start: auto; }
[part~=stage], [part~=filename], [part~=speaker] { font-weight: 600; }
[part~=percentage], [part~=details], [part~=time], [part~=note], [part~=amount], [part~=matches] {
  color: var(--_muted); font-size: .875em;
}
[part~=error] { color: var(--_danger); }
[part~=live] { block-size: 1px; clip-path: inset(50%); inline-size: 1px; overflow: hidden; position: absolute; }

button, input {
  background: none;
  border: 1px solid var(--_border);
  border-radius: calc(var(--_radius) * .6);
  color: inherit;
  font: inherit;
  font-size: .9375em;
  line-height: 1.25;
  min-block-size: 36px;
  min-inline-size: 36px;
  padding: 6px 14px;
}
button { cursor: pointer; }
[part~=button]:hover { border-color: var(--_accent); }
[aria-disabled], :disabled { cursor: default; opacity: .6; }
[part~=choose], [part~=retry], [part~=stop] {
  background: var(--_accent); border-color: var(--_accent); color: var(--_surface);
}
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }

[part~=bar] { background: var(--_track); block-size: 8px; border-radius: 4px; overflow: hidden; }
[part~=file-bar] { block-size: 4px; }
[part=fill] { background: var(--_accent); block-size: 100%; border-radius: inherit; transition: inline-size .3s; }
:host([completed]) [part=fill], [part~=file][data-status=completed] [part=fill] { background: var(--_success); }
:host([failed]) [part~=total] [part=fill], [part~=file][data-status=failed] [part=fill] { background: var(--_danger); }
:host([partial]) [part~=total] [part=fill] { background: var(--_warning); }
:host([cancelled]) [part=fill] { background: var(--_muted); }
[part~=files] { display: grid; gap: 10px; }
[part~=file] { gap: 4px; }
[part~=connection], [part~=recording-dot] {
  background: var(--_muted); block-size: 10px; border-radius: 50%; flex: none; inline-size: 10px;
}
[part~=connection][data-status=live] { background: var(--_success); }
[part~=connection][data-status=polling] { background: transparent; border: 2px solid var(--_warning); }

[part=skeleton] { display: grid; gap: 10px; padding-block: 4px; }
[part=skeleton] div {
  animation: pulse 1s infinite alternate; background: var(--_track);
  block-size: .75em; border-radius: 4px;
}
[part=skeleton] div:last-child { inline-size: 60%; }
@keyframes pulse { from { opacity: 1 } to { opacity: .45 } }

[part~=search] { border-color: var(--_muted); inline-size: 100%; padding: 6px 10px; }
[part~=search]::placeholder { color: var(--_muted); opacity: 1; }
[part~=lines] {
  gap: var(--_gap); max-block-size: var(--smelt-transcript-height, 24rem);
  overflow: auto; overflow-anchor: none; position: relative; scroll-padding: 1em;
}
section, [part~=transcript] { gap: 6px; }
[part~=line] { display: grid; gap: 0 12px; grid-template-columns: minmax(2.4em, max-content) minmax(0, 1fr); }
[part~=time] { line-height: 1.7; }
button[part=time] {
  align-self: start; border: 0; color: var(--_accent); min-block-size: 0; outline-offset: -2px; padding: 0 4px;
}
[part~=speaker] { margin-inline-end: .5em; }
[part~=doubtful] [part=text] { text-decoration: underline dotted var(--_warning) 2px; }
[part~=doubt] { color: var(--_warning); font-size: .875em; white-space: nowrap; }
mark { background: var(--_mark); border-radius: 2px; color: inherit; }
mark[aria-current] { outline: 2px solid var(--_accent); }
[part~=follow] { justify-self: center; }

.results { gap: var(--_gap); }
[part=output] { gap: 12px; }
.results:empty, [part~=matches]:empty { position: absolute; }
[part~=result] + * { border-block-start: 1px solid var(--_border); padding-block-start: var(--_gap); }
h4, h5, h6 { font-size: 1em; margin: .4em 0 0; }
[part=content] :is(ul, ol) { display: grid; gap: .25em; padding-inline-start: 1.4em; }
[part=content] :is(ul, ol) :is(ul, ol) { margin-block-start: .25em; }
li.task { list-style: none; text-indent: -1.2em; }
li.task > * { text-indent: 0; }
.table { overflow-x: auto; }
li > p + p, blockquote > * + * { margin-block-start: .5em; }
blockquote {
  border-inline-start: 3px solid var(--_border); color: var(--_muted); margin: 0; padding-inline-start: 12px;
}
pre, code {
  background: var(--_track); border-radius: 4px; font-family: ui-monospace, monospace; font-size: .875em;
}
code { padding: .1em .3em; }
pre { padding: 10px 12px; white-space: pre-wrap; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; inline-size: 100%; }
td, th {
  border: 1px solid var(--_border); overflow-wrap: break-word; padding: 5px 8px; text-align: start;
}
hr { border: 0; border-block-start: 1px solid var(--_border); inline-size: 100%; }
a { color: var(--_accent); }

[part~=zone] {
  align-items: center; border: 2px dashed var(--_border); border-radius: var(--_radius); display: flex; flex-wrap: wrap;
  gap: 10px; justify-content: center; padding: var(--_gap); text-align: center;
}
:host([dragging]) [part~=zone] { border-color: var(--_accent); }
[part~=hint] { color: var(--_muted); flex-basis: 100%; }
[part~=level] { inline-size: 6em; }
[part~=recording-dot] { animation: pulse 1s infinite alternate; background: var(--_danger); }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media (forced-colors: active) {
  [part=fill], [part~=connection][data-status=live], [part~=recording-dot] {
    background: Highlight !important; forced-color-adjust: none;
  }
  [part~=bar] { border: 1px solid; }
}
`
