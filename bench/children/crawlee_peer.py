"""Crawlee at the same work: ``crawlee_peer.py BASE_URL KEYWORDS OUTPUT``; runs in the peers' environment.

``ParselCrawler`` with its own HTTP client, its requests in memory, lines of JSON written by its handler.
"""

# mypy: ignore-errors
# The packages are the peers' environment's; there is nothing to check against in ours.
from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qs, quote, urlsplit

from crawlee import ConcurrencySettings, Request
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient


async def crawl(base_url: str, keywords: Sequence[str], lines: TextIO) -> None:
    """Ask every question and write its results as a line."""
    crawler = ParselCrawler(
        storage_client=MemoryStorageClient(),
        concurrency_settings=ConcurrencySettings(
            min_concurrency=16, desired_concurrency=16, max_concurrency=16
        ),
        configure_logging=False,
    )

    @crawler.router.default_handler
    async def read(context: ParselCrawlingContext) -> None:
        page = context.selector
        total = "".join(letter for letter in page.css("#stats").xpath("string()").get("") if letter.isdigit())
        found = {
            "keyword": context.request.user_data["keyword"],
            "total": int(total),
            "results": [
                {
                    "rank": rank,
                    "title": " ".join(row.css("h3").xpath("string()").get("").split()),
                    "url": parse_qs(urlsplit(row.css("a.hit-link::attr(href)").get("")).query)["target"][0],
                    "snippet": " ".join(row.css(".hit-words").xpath("string()").get("").split()),
                }
                for rank, row in enumerate(page.css("#results > div.hit"), 1)
            ],
        }
        lines.write(json.dumps(found, ensure_ascii=False) + "\n")

    asked = (
        Request.from_url(
            f"{base_url}/search?q={quote(keyword, safe='')}&hl=en&page=1", user_data={"keyword": keyword}
        )
        for keyword in keywords
    )
    await crawler.run(list(asked))


def main(base_url: str, keywords: str, output: str) -> None:
    """Crawl every question of a file to lines of JSON."""
    logging.basicConfig(level=logging.ERROR)
    asked = Path(keywords).read_text("utf-8").splitlines()
    with Path(output).open("w", encoding="utf-8") as lines:
        asyncio.run(crawl(base_url, asked, lines))


if __name__ == "__main__":
    main(*sys.argv[1:4])
