"""The page's style sheet: system fonts, one accent, label colours that colour-blind people can tell apart."""

__all__ = ["COLORS", "LABELS", "STYLE", "TEXT"]

# Label colours after Okabe and Ito, Color Universal Design (2008); the first is a neutral grey, for "nothing".
LABELS = (
    ("#9aa5b1", "#14202b"), ("#e69f00", "#14202b"), ("#0072b2", "#ffffff"), ("#d55e00", "#ffffff"),
    ("#009e73", "#ffffff"), ("#cc79a7", "#14202b"), ("#56b4e9", "#14202b"), ("#f0e442", "#14202b"),
)  # fmt: skip

COLORS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f7f8; --ink: #15202b; --soft: #566370; --faint: #8b97a3; --rule: #dbe1e6;
  --accent: #0b7a75; --accent-soft: #d5ebe9; --bad: #b3261e; --camera: #4a57b8; --audio: #a13d86; --several: #0b7a75;
  --rival: #8b97a3; --hatch: rgb(255 255 255 / .8); --plate: rgb(12 18 24 / .78);
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #10161b; --panel: #182027; --ink: #e8edf1; --soft: #a7b3be; --faint: #76838f; --rule: #2c3741;
    --accent: #45c4bb; --accent-soft: #16403f; --bad: #ff8a80; --camera: #98a4ff; --audio: #e58fcb; --several: #45c4bb;
    --rival: #76838f; --hatch: rgb(16 22 27 / .75);
  }
}
"""

TEXT = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font-variant-numeric: tabular-nums;
  font: 16px/1.55 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main, header, footer { max-width: 1168px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
h1 { font-size: clamp(27px, 4.3vw, 44px); line-height: 1.14; letter-spacing: -.022em; font-weight: 650;
  margin: 6px 0 14px; max-width: 24em; text-wrap: balance; }
h2 { font-size: 22px; line-height: 1.25; letter-spacing: -.012em; font-weight: 650; margin: 0 0 4px; }
h3 { font-size: 15px; font-weight: 650; margin: 22px 0 6px; }
p { margin: 0 0 12px; max-width: 46em; }
.eyebrow { color: var(--accent); font-size: 13px; font-weight: 600; letter-spacing: .04em; margin: 0; }
.lead { font-size: 18px; color: var(--soft); max-width: 44em; }
.note, .columns, figcaption { color: var(--soft); font-size: 14.5px; max-width: 60em; }
section { border-top: 1px solid var(--rule); margin-top: 40px; padding-top: 26px; }
footer { overflow-wrap: anywhere; color: var(--faint); font-size: 13px; padding-top: 32px; padding-bottom: 48px; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 48px; }
@media (max-width: 960px) { .two { grid-template-columns: minmax(0, 1fr); } }
.two > div { min-width: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 14px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.caveats { margin: 8px 0 0; padding: 0 0 0 18px; max-width: 50em; }
.caveats li { margin-bottom: 8px; }
.callout { border-left: 3px solid var(--accent); background: var(--panel); padding: 10px 16px; margin: 14px 0; }
"""

NUMBERS = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 270px), 1fr)); gap: 14px;
  margin: 28px 0 0; }
.tile { background: var(--panel); border-radius: 10px; padding: 18px 20px 16px; }
.tile .value { font-size: 42px; line-height: 1.05; font-weight: 650; letter-spacing: -.03em; color: var(--accent);
  margin: 0 0 6px; }
.tile .what { font-weight: 600; margin: 0 0 2px; line-height: 1.35; }
.tile .how { color: var(--soft); font-size: 14px; line-height: 1.45; margin: 0; }
.bars { margin: 14px 0 0; }
.bar-row { display: grid; grid-template-columns: minmax(150px, 27%) 1fr; gap: 2px 18px; align-items: center;
  padding: 5px 0; font-size: 14px; }
.bar-name { line-height: 1.3; }
.bar-name b { font-weight: 600; }
.bar-track { position: relative; height: 30px; background: var(--panel); border-radius: 3px; }
.bar { display: flex; height: 100%; border-radius: 3px; overflow: hidden; background: var(--rival); }
.ours .bar { background: var(--accent); }
.bar-value { position: absolute; top: 0; line-height: 30px; padding-left: 8px; white-space: nowrap; font-weight: 600; }
.bar-value.inside { color: var(--paper); padding: 0 8px 0 0; transform: translateX(-100%); }
.limit { position: absolute; top: -5px; bottom: -5px; border-left: 2px dashed var(--bad); margin-left: -2px; }
.limit-text { font-size: 13px; color: var(--bad); grid-column: 2; position: relative; height: 20px; }
.limit-text span { position: absolute; white-space: nowrap; transform: translateX(-50%); }
.limit-text span.at-end { transform: translateX(-100%); }
.part { height: 100%; min-width: 0; box-shadow: inset -1px 0 var(--paper); color: #fff; font-size: 12px;
  line-height: 30px; text-indent: 7px; overflow: hidden; white-space: nowrap; }
.part.from-camera { background: #4a57b8; } .part.from-audio { background: #a13d86; }
.part.from-several { background: #0b7a75; }
"""

TABLES = """
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; margin: 14px 0; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
caption { text-align: left; color: var(--soft); font-size: 14px; padding-bottom: 8px; }
th, td { padding: 8px 10px; text-align: right; vertical-align: bottom; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 600; font-size: 13px; line-height: 1.3;
  border-bottom: 1.5px solid var(--ink); }
thead .unit { display: block; font-weight: 400; color: var(--faint); }
th[scope=row], thead th:first-child { text-align: left; font-weight: 500; min-width: 170px; }
td { white-space: nowrap; }
tr.ours { background: var(--accent-soft); }
tr.ours th { font-weight: 650; }
td.best { font-weight: 700; }
td.refused { white-space: normal; color: var(--bad); text-align: center; }
.narrow { width: auto; }
.confusion td, .confusion thead th { text-align: center; min-width: 84px; }
.confusion thead th:first-child { text-align: left; }
.confusion td.cell {
  background: color-mix(in srgb, var(--accent) calc(var(--share) * 62%), var(--panel)); border: 2px solid var(--paper);
}
.confusion td.cell.error { background: color-mix(in srgb, var(--bad) calc(var(--share) * 62%), var(--panel)); }
.confusion .of { display: block; font-size: 12px; }
.confusion th, .confusion td { vertical-align: middle; }
.columns { columns: 2 320px; column-gap: 44px; margin: 0; display: block; max-width: none; }
.columns div { break-inside: avoid; margin-bottom: 5px; }
.columns dt { display: inline; color: var(--ink); font-weight: 600; }
.columns dt::after { content: ": "; }
.columns dd { display: inline; }
"""

FIGURES = """
figure { margin: 14px 0 0; }
.drawing { display: block; width: 100%; height: auto; font-size: 12px; }
.timeline { min-width: 1000px; } .graph { min-width: 980px; } .latency, .moment-of { min-width: 760px; }
svg text { fill: var(--ink); }
.lane-name { font-weight: 650; font-size: 13px; }
svg .lane-note, svg .tick { fill: var(--soft); font-size: 11.5px; }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.leader { stroke: var(--faint); stroke-width: 1; }
.moment { fill: var(--ink); }
.plate { fill: var(--plate); }
svg .plate-text { fill: #fff; font-size: 11.5px; font-weight: 600; }
.event { stroke: var(--ink); stroke-width: 1.3; }
.event-text { font-size: 12px; paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.band-text { font-size: 12px; font-weight: 600; }
.hatch { fill: url(#hatch); }
.hatch-line { stroke: var(--hatch); stroke-width: 5; }
.mark-row { fill: var(--panel); }
.mark-wrong { fill: var(--bad); }
.curve { stroke-width: 1.7; stroke-linejoin: round; }
.curve.fine { stroke-width: 1; }
.curve.truth { stroke: var(--faint); stroke-width: 5; opacity: .55; }
.curve.decided { stroke: var(--ink); stroke-width: 1.4; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 10px 0 0; padding: 0;
  font-size: 14px; }
.legend li { display: flex; align-items: center; gap: 8px; }
.swatch { width: 22px; height: 13px; border-radius: 2px; flex: none; }
.swatch.hatched { background: repeating-linear-gradient(135deg, var(--faint) 0 2px, transparent 2px 6px); }
.swatch.wrong { background: var(--bad); }
.sheet { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 18px 16px; }
.sheet figure { margin: 0; }
.sheet svg { display: block; width: 100%; height: auto; border-radius: 4px; }
.sheet figcaption { text-wrap: pretty; font-size: 13px; line-height: 1.4; padding-top: 5px; }
.sheet figcaption b { color: var(--ink); }
svg .from-camera { stroke: var(--camera); } svg .from-audio { stroke: var(--audio); }
svg .from-several { stroke: var(--several); }
.stage { fill: var(--panel); stroke-width: 1.6; }
.sensor, .output { fill: var(--paper); stroke-width: 1.2; }
.output { stroke: var(--soft); }
svg .node-name { font-size: 14px; font-weight: 650; }
svg .node-text { font-size: 12px; }
svg .edge-size { font-size: 12px; font-weight: 650; }
svg .edge-name { font-size: 11px; fill: var(--soft); }
.edge-name, .edge-size, .over { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
svg .stage-note { font-size: 11px; fill: var(--soft); }
.edge { fill: none; stroke-width: 1.6; }
.arrow { stroke: none; fill: var(--soft); }
.edge { stroke: var(--soft); }
.cut { stroke: var(--bad); stroke-width: 1.6; stroke-dasharray: 6 5; }
svg .cut-text { fill: var(--bad); font-size: 12.5px; font-weight: 600; }
.hole { fill: var(--paper); }
.slot { fill: var(--paper); stroke-width: 1.2; }
.slot.newest.from-camera { fill: var(--camera); } .slot.newest.from-audio { fill: var(--audio); }
.slot.newest.from-several { fill: var(--several); }
.load { fill: var(--accent); stroke: none; }
.load-track { fill: var(--rule); }
.hill { fill: var(--rival); fill-opacity: .45; stroke: var(--rival); stroke-width: 1.2; }
.hill.ours { fill: var(--accent); fill-opacity: .35; stroke: var(--accent); }
.quantile { stroke: var(--ink); stroke-width: 1.4; }
.due { stroke: var(--bad); stroke-dasharray: 5 4; }
svg .due-text { fill: var(--bad); font-size: 12px; }
.dot { stroke: var(--paper); stroke-width: .7; }
.dot.from-camera { fill: var(--camera); } .dot.from-audio { fill: var(--audio); }
"""

PAPER = """
@media (max-width: 620px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 26px; }
  .lead { font-size: 16px; }
  .bar-row { grid-template-columns: 1fr; padding: 6px 0; }
  .limit-text { grid-column: 1; }
  .sheet { grid-template-columns: 1fr 1fr; gap: 12px; }
  .scroll { margin-left: -16px; margin-right: -16px; padding: 0 16px; }
  th[scope=row] { position: sticky; left: -16px; background: var(--paper); min-width: 128px; }
  tr.ours th[scope=row] { background: var(--accent-soft); }
}
@media print {
  @page { size: A4; margin: 13mm 11mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 12.5px; }
  main, header, footer { padding: 0; max-width: none; }
  header { padding-top: 0; }
  h1 { font-size: 27px; }
  .lead { font-size: 14px; }
  .note, .columns, .tile .how, figcaption, caption, dl, .bar-row { font-size: 11.5px; }
  .columns { columns: 3 160px; column-gap: 24px; }
  section { margin-top: 20px; padding-top: 14px; }
  figure, table, .bars, .columns, .tile, .caveats li { break-inside: avoid; }
  h2, h3, .note, .legend { break-after: avoid; }
  .scroll { overflow: visible; }
  .drawing { min-width: 0; }
  table { font-size: 10.5px; }
  thead th { font-size: 10px; }
  th, td { padding: 5px; }
  th[scope=row], thead th:first-child { min-width: 0; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .tile { padding: 12px 14px; }
  .tile .value { font-size: 30px; }
  .sheet figcaption { font-size: 10.5px; }
  .sheet { grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 10px; }
}
"""


def _label_rules() -> str:
    rules = []
    for i, (color, ink) in enumerate(LABELS):
        rules.append(f".band.label-{i} {{ fill: {color}; }} .swatch.label-{i} {{ background: {color}; }}")
        rules.append(f".curve.label-{i} {{ stroke: {color}; }} svg .on-label-{i} {{ fill: {ink}; }}")
    return "\n".join(rules)


STYLE = "\n".join([COLORS, TEXT, NUMBERS, TABLES, FIGURES, _label_rules(), PAPER])
