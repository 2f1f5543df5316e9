"""AWS doors: the names that Lambda calls. Each is a few lines and imports only ``pipeline``."""

import gc

# Imports make a hundred thousand objects that stay. Looking through them again and again while they come
# takes a sixth of a cold start.
gc.set_threshold(50_000, 20, 20)
