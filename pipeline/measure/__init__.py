"""Measurements: experiments that say what functions run on, how long they live and how they spread."""
