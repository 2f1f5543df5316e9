"""Scrapy at the same work: ``scrapy_peer.py BASE_URL KEYWORDS OUTPUT``; runs in the peers' environment.

One item a page, with its results inside: cheaper for Scrapy's feed than an item a result.
"""

# mypy: ignore-errors
# The packages are the peers' environment's; there is nothing to check against in ours.
from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs, quote, urlsplit

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.http import TextResponse


class Results(scrapy.Spider):
    """Asks every question of a file and reads the results."""

    name = "results"

    def __init__(self, base_url: str, keywords: TextIO) -> None:
        super().__init__()
        self._base_url = base_url
        self._keywords = keywords

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """A request for each question."""
        for line in self._keywords:
            keyword = line.rstrip("\n")
            url = f"{self._base_url}/search?q={quote(keyword, safe='')}&hl=en&page=1"
            yield scrapy.Request(url, cb_kwargs={"keyword": keyword}, dont_filter=True)

    def parse(self, response: TextResponse, keyword: str) -> Iterator[dict[str, Any]]:
        """The page's results."""
        total = "".join(
            letter for letter in response.css("#stats").xpath("string()").get("") if letter.isdigit()
        )
        yield {
            "keyword": keyword,
            "total": int(total),
            "results": [
                {
                    "rank": rank,
                    "title": " ".join(row.css("h3").xpath("string()").get("").split()),
                    "url": parse_qs(urlsplit(row.css("a.hit-link::attr(href)").get("")).query)["target"][0],
                    "snippet": " ".join(row.css(".hit-words").xpath("string()").get("").split()),
                }
                for rank, row in enumerate(response.css("#results > div.hit"), 1)
            ],
        }


def main(base_url: str, keywords: str, output: str) -> None:
    """Crawl to a JSON lines feed."""
    process = CrawlerProcess(
        {
            "LOG_LEVEL": "ERROR",
            "ROBOTSTXT_OBEY": False,
            "COOKIES_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "CONCURRENT_REQUESTS": 16,
            "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
            "DOWNLOAD_DELAY": 0,
            "FEEDS": {output: {"format": "jsonlines", "encoding": "utf-8", "overwrite": True}},
        }
    )
    with Path(keywords).open(encoding="utf-8") as lines:
        process.crawl(Results, base_url=base_url, keywords=lines)
        process.start()


if __name__ == "__main__":
    main(*sys.argv[1:4])
