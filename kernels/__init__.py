"""The kernels of minillm: plain-torch oracles, CPU kernels, and the one place that picks among them."""

__minillm__ = True
