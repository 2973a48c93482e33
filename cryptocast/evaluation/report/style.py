"""The style sheet of the page."""

from cryptocast.evaluation.report.colours import variables

__all__ = ["STYLE"]


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
 font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,.top,footer{max-width:1176px;margin:0 auto;padding:0 20px}
.top{padding-top:56px}
footer{padding-top:32px;padding-bottom:64px;color:var(--muted);font-size:15px}
h1{font-size:clamp(28px,4.4vw,44px);line-height:1.14;letter-spacing:-.02em;margin:0 0 12px;text-wrap:balance;
 overflow-wrap:anywhere}
h2{font-size:27px;line-height:1.2;letter-spacing:-.012em;margin:0 0 8px}
h3{font-size:19px;line-height:1.3;margin:40px 0 8px}
p{margin:0 0 12px;max-width:72ch}
a{color:var(--accent);text-underline-offset:3px}
bdi{overflow-wrap:anywhere}
.kicker{max-width:none;color:var(--muted);font-size:15px;margin:0 0 10px}
.lead{font-size:clamp(19px,2.1vw,22px);line-height:1.45;max-width:62ch;margin:0}
.read{color:var(--muted);font-size:15px}
nav{margin:28px 0 0;padding:12px 0;border-top:1px solid var(--line)}
nav ul{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:0;padding:0;font-size:15px}
nav li{white-space:nowrap}
nav a{display:inline-block;padding:6px 0;text-decoration:none}
nav a:hover{text-decoration:underline}
section{padding:56px 0 0}
section:first-child{padding-top:12px}
section:first-child>h2{border-top:0}
section>h2{text-wrap:balance;padding-top:20px;border-top:1px solid var(--line)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:32px 28px;margin:20px 0 0}
.grid.four{grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));gap:32px 24px}
@media(max-width:590px){.grid.four{grid-template-columns:1fr}}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:28px;margin:28px 0 0}
.card{border-top:3px solid var(--line);padding-top:14px}
.card.chosen{border-color:var(--accent)}
.card h3{margin:0 0 4px}
.card dl{margin:0}
.card dt{margin:16px 0 0;display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline}
.card dt .when{font-weight:600}
.card dd{margin:2px 0 0;font-size:15px;line-height:1.5;color:var(--muted)}
.word{font-weight:650;white-space:nowrap}
.better{color:var(--accent)}
.worse{color:var(--miss)}
.cannot-tell{color:var(--ink)}
td .cannot-tell{font-weight:400}
.flow{margin-top:22px}
.flow>*+*{margin-top:32px}
.table{min-width:0}
th[scope=rowgroup]{text-align:left;padding-top:22px;position:sticky;left:0}
tbody:first-of-type th[scope=rowgroup]{padding-top:10px}
tr.over+tr th,.over~tr th[scope=row]{font-weight:400}
.small{font-size:15px;color:var(--muted);font-weight:400}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{margin:0 0 6px;font-size:15px;line-height:1.45}
figcaption b{font-size:16px}
figcaption .small{display:block}
svg{display:block;width:100%;height:auto;max-width:560px;overflow:visible}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:14px}
.only-wide svg{max-width:none}
.only-wide{display:block}.only-narrow{display:none}
@media(max-width:899px){.only-wide{display:none}.only-narrow{display:block}}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:14px 0 4px;padding:0;font-size:15px}
.legend li{display:flex;align-items:center;gap:8px}
.legend svg{width:28px;height:14px;flex:none}
.scroll{overflow-x:auto;margin:6px 0 0;-webkit-overflow-scrolling:touch}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
table{border-collapse:collapse;font-size:15px;line-height:1.4;font-variant-numeric:tabular-nums;min-width:min(100%,480px)}
.about{color:var(--muted);font-size:15px;margin:14px 0 0}
.tables{columns:2 480px;column-gap:40px}
.tables>.table{break-inside:avoid}
.tables h3{margin-top:0;padding-top:28px}
.nowrap{white-space:nowrap}
th,td{padding:7px 14px 7px 0;text-align:right;vertical-align:baseline;white-space:nowrap;
 border-bottom:1px solid var(--line)}
th{font-weight:600}
thead th{color:var(--muted);font-weight:500;vertical-align:bottom}
th[scope=row],th.left,td.left{text-align:left}
tbody th[scope=row]{position:sticky;left:0;background:var(--paper);max-width:min(46vw,30ch);
 overflow:hidden;text-overflow:ellipsis;white-space:normal;overflow-wrap:break-word;min-width:15ch}
td .small{margin-left:6px}
.wrap td{white-space:normal;text-align:left;overflow-wrap:anywhere;min-width:18ch}
.wrap th{vertical-align:top}
td .off{color:var(--miss);font-weight:600}
details{border-bottom:1px solid var(--line)}
details:last-child{border-bottom:0}
summary{cursor:pointer;padding:12px 0;font-weight:600}
summary .small{margin-left:8px}
details[open]{padding-bottom:28px}
ul.plain{padding-left:20px;margin:12px 0 0;max-width:76ch}
ul.plain li{margin:0 0 6px}
pre{overflow-x:auto;background:var(--well);padding:14px 16px;border-radius:6px;font:15px/1.5 ui-monospace,
 SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;margin:14px 0 0;white-space:pre-wrap;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,230px),1fr));gap:24px 28px;margin:24px 0 0}
.facts div{border-top:1px solid var(--line);padding-top:10px}
.facts dt{color:var(--muted);font-size:15px}
.facts dd{margin:0;font-size:26px;line-height:1.25;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
.facts dd .small{display:block;font-size:15px;letter-spacing:0;line-height:1.45;margin-top:4px}
@media(max-width:600px){nav ul{flex-wrap:nowrap;overflow-x:auto}}
@media(max-width:480px){main,.top,footer{padding-left:16px;padding-right:16px}.top{padding-top:32px}
 section{padding-top:44px}th,td{padding-right:12px}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""

# On paper: the light scheme, everything opened, nothing to scroll, the wide drawings.
_PRINT = """
body{font-size:11pt}
nav{display:none}
.top{padding-top:0}
section{padding-top:24px}
h2,h3,summary{break-after:avoid}
tr,figure,.card{break-inside:avoid}
.scroll{overflow:visible}
.grid{grid-template-columns:repeat(3,1fr);gap:14px}
.grid.four{grid-template-columns:repeat(4,1fr);gap:12px}
.cards{grid-template-columns:repeat(3,1fr);gap:14px}
table{font-size:9pt}
th,td{white-space:normal;padding-right:8px}
tbody th[scope=row]{position:static}
details::details-content{content-visibility:visible;display:block;block-size:auto}
.only-wide{display:block}.only-narrow{display:none}
"""

STYLE = (
    f":root{{color-scheme:light dark;{variables('light')}--well:#f3f5f7}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{variables('dark')}--well:#1d232a}}}}"
    f"{_RULES}@media print{{:root{{color-scheme:light}}{_PRINT}}}"
).replace("\n", "")
