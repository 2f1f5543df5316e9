"""The report of measurements: readings in, one HTML page out, which loads nothing and runs nothing."""

from stages.measure_report.page import render_report

__all__ = ["render_report"]
