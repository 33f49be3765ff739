"""Kernels for float32 and bfloat16 on the CPU, compiled by numba; see `runtime` for how they run."""
