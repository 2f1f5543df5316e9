"""AWS doors: the names that Lambda calls. Each is a few lines and imports only ``pipeline``."""
