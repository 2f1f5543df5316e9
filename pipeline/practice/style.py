"""What a results page looks like, and most of what it weighs: inline styles and scripts of realistic size.

Engines send some dozens of kilobytes of these with every page, and whoever reads the page has to get
past them. Only the part written out here shapes the page; the rest is weight, derived and the same each time.
"""

# ruff: noqa: E501 - markup, styles and scripts stand here as they are sent
from __future__ import annotations

import hashlib
from functools import cache

_LOOK = """
:root{--ink:#1d2129;--soft:#5a6270;--line:#e3e6eb;--link:#1646a8;--visited:#5b2a86;--good:#1c6b3c;--accent:#0b7a75}
*{box-sizing:border-box}body{margin:0;font:15px/1.55 "Liberation Sans",Arial,sans-serif;color:var(--ink);background:#fff}
a{color:var(--link);text-decoration:none}a:visited{color:var(--visited)}a:hover{text-decoration:underline}
header.top{position:sticky;top:0;z-index:9;background:#fff;border-bottom:1px solid var(--line)}
.top-row{display:flex;align-items:center;gap:28px;padding:18px 28px 10px}
.brand{font-weight:700;font-size:25px;letter-spacing:-.5px;color:var(--accent)}.brand b{color:var(--ink)}
form.ask{display:flex;flex:0 1 640px;border:1px solid #cfd4dc;border-radius:24px;padding:3px 6px 3px 18px;
box-shadow:0 1px 4px rgba(20,30,50,.08)}
form.ask input[name=q]{flex:1;border:0;outline:0;font-size:16px;padding:8px 0;background:transparent}
form.ask button{border:0;border-radius:18px;background:var(--accent);color:#fff;padding:0 20px;font-size:14px}
.account{margin-left:auto;display:flex;gap:14px;font-size:13px;color:var(--soft)}
nav.tabs{padding:0 28px 0 172px;display:flex;gap:24px;font-size:14px}
nav.tabs a{color:var(--soft);padding:8px 2px;border-bottom:3px solid transparent}
nav.tabs a.on{color:var(--accent);border-color:var(--accent)}
.filters{display:flex;gap:16px;padding:8px 28px 0 172px;font-size:13px;color:var(--soft)}.filters .menu{display:none}
.sheet{display:flex;gap:56px;padding:10px 28px 40px 172px}main{width:652px}aside{width:368px}
#stats{font-size:13px;color:var(--soft);margin:4px 0 18px}
.hit{margin:0 0 28px}.hit h3{margin:2px 0 3px;font-size:19px;font-weight:400;line-height:1.3}
.hit-from{display:flex;align-items:center;gap:10px;font-size:13px;color:var(--soft)}
.hit-icon{width:26px;height:26px;border-radius:50%;background:#eef3f3;display:grid;place-items:center}
.hit-icon svg{width:16px;height:16px}cite{font-style:normal;color:var(--good)}
.hit-kind{border:1px solid var(--line);border-radius:3px;padding:0 5px;font-size:11px;margin-right:6px;color:var(--soft)}
.hit-snippet em{font-style:normal;font-weight:700}.hit-tools{font-size:12px;color:var(--soft);display:flex;gap:12px}
.hit-tools .menu{display:none}.ad{border-left:3px solid #d8c79a;background:#fdfaf1;padding:9px 14px;margin:0 0 24px}
.ad h3{margin:0;font-size:17px;font-weight:400}.ad-mark{font-weight:700;font-size:11px;margin-right:6px}
.ad p{margin:2px 0 0;font-size:14px}.box{border:1px solid var(--line);border-radius:10px;padding:14px 18px;margin:0 0 24px}
.box h2{margin:0 0 8px;font-size:16px}.box ul{list-style:none;margin:0;padding:0}
.box li{padding:7px 0;border-top:1px solid var(--line);font-size:14px}.box li:first-child{border-top:0}
.panel h2{font-size:22px;margin-bottom:0}.panel .sub{color:var(--soft);font-size:13px}.panel dl{font-size:13px;margin:10px 0 0}
.panel dt{float:left;clear:left;font-weight:700;margin-right:6px}.panel dd{margin:0 0 4px;overflow-wrap:anywhere}
nav.pages{display:flex;gap:6px;align-items:center;margin:30px 0 10px}nav.pages a,nav.pages b{padding:6px 12px;border-radius:6px}
nav.pages b{background:#e9f3f2}.no-hits{padding:18px 0 60px;font-size:16px}footer{background:#f4f5f7;font-size:13px;
color:var(--soft);border-top:1px solid var(--line)}footer div{padding:11px 28px;display:flex;gap:26px}
@media(max-width:900px){.sheet,nav.tabs,.filters{padding-left:16px}.sheet{flex-direction:column}main,aside{width:auto}}
"""

_BEHAVIOUR = """
(function(w,d){"use strict";var beats=[],began=Date.now(),seen=Object.create(null);
function each(list,act){for(var i=0;i<list.length;i+=1){act(list[i],i)}}
function note(name,more){beats.push([name,Date.now()-began,more||null]);if(beats.length>200){beats.shift()}}
function toggle(opener,menu){var open=menu.style.display==="block";menu.style.display=open?"none":"block";
opener.setAttribute("aria-expanded",String(!open));note(open?"close":"open",menu.id)}
function wire(){each(d.querySelectorAll("[data-opens]"),function(opener){var menu=d.getElementById(opener.dataset.opens);
if(menu){opener.addEventListener("click",function(event){event.preventDefault();toggle(opener,menu)})}});
each(d.querySelectorAll("a.hit-link"),function(link,place){link.addEventListener("mousedown",function(){
if(!seen[link.href]){seen[link.href]=place+1;note("follow",place+1)}})});
var field=d.querySelector("form.ask input[name=q]");if(field){d.addEventListener("keydown",function(event){
if(event.key==="/"&&d.activeElement!==field){event.preventDefault();field.focus();field.select()}})}}
if(d.readyState==="loading"){d.addEventListener("DOMContentLoaded",wire)}else{wire()}
w.practice={beats:beats,flags:w.practiceFlags||{}}})(window,document);
"""

_SIDES = ("top", "right", "bottom", "left")
_RULES = 330
_FLAGS = 330


def _digest(*parts: object) -> str:
    return hashlib.blake2b("·".join(map(str, parts)).encode(), digest_size=12).hexdigest()


@cache
def styles() -> str:
    """The content of the page's ``<style>``."""
    rules = []
    for number in range(_RULES):
        mark = _digest("rule", number)
        side, size, tint = _SIDES[number % 4], number % 48, mark[:6]
        rules.append(
            f".u{mark[6:11]}{{padding-{side}:{size}px;border-{side}-color:#{tint};order:{number % 7}}}"
        )
    return _LOOK + "".join(rules)


@cache
def flags_script() -> str:
    """The script in the head: switches as engines send them, of which this page uses none."""
    flags = ",".join(
        f'"x{_digest("flag", n)[:7]}":[{n % 2},{n * 37 % 1000},"{_digest(n)}"]' for n in range(_FLAGS)
    )
    return f"window.practiceFlags={{{flags}}};"


def behaviour_script() -> str:
    """The script at the end of the page: menus open, a slash goes to the search field."""
    return _BEHAVIOUR
