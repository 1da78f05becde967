"""What happens inside the network: arrays in, arrays and figures out, no page.

Importing this package or its computing modules loads no plotting library; `figures_matplotlib` (paper) and
`figures_plotly` (screen) do.
"""
