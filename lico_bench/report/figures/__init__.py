"""Plots of a report as PNG and PDF. Only `canvas` imports a plotting library."""
