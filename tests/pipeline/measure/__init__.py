"""The experiments without a wire."""
