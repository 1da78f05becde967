"""Analyses of what happens inside the network: arrays in, arrays and figures out, independent of the page.

Importing this package or one of its computing modules loads no plotting library; `figures_matplotlib` (for paper) and
`figures_plotly` (for the screen) do.
"""
