"""The benchmark's source files: the shipped ones, pointed at nginx and asked as fast as it answers."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from bench.figures import Failed
from bench.process import WORK

_PACE = {"rate": "1_000_000", "burst": "10_000", "concurrency": "16"}

_XPATH_ANSWER = """[answer]
language = "xpath"
total = '//*[@id="stats"]'

[[answer.results]]
rows = '//div[@id="results"]/div[@class="hit"]'

[answer.results.fields]
title = ".//h3"
url = { select = './/a[@class="hit-link"]', attribute = "href", transforms = ["redirect:target"] }
snippet = './/*[@class="hit-words"]'

[answer.empty]
select = ['//div[@id="results"]/div[@class="no-hits"]']

[answer.refused]
select = ['//form[@id="captcha-form"]']
"""


def write_sources(base_url: str) -> Path:
    """Write ``bench_css``, ``bench_xpath`` and ``bench_json`` to a folder, and give the folder."""
    folder = WORK / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    page = _shipped("practice_page")
    # The same fields by the same marks, in the other language.
    xpath = page[: page.index("[answer]")] + _XPATH_ANSWER
    for name, text in (("css", page), ("xpath", xpath), ("json", _shipped("practice_api"))):
        changed = _set(_set(text, "name", f'"bench_{name}"'), "base_url", f'"{base_url}"')
        for field, value in _PACE.items():
            changed = _set(changed, field, value)
        (folder / f"bench_{name}.toml").write_text(changed, "utf-8")
    return folder


def _shipped(name: str) -> str:
    return files("pipeline").joinpath("sources", f"{name}.toml").read_text("utf-8")


def _set(text: str, field: str, value: str) -> str:
    changed, count = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", text)
    if count != 1:
        raise Failed(f"the shipped source file has {count} lines that set {field}; the benchmark needs one")
    return changed
