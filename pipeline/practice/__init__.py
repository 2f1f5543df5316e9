"""The practice engine: a small real search engine on loopback, so that everything can be tried offline."""
