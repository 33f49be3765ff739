"""Triton kernels, for GPUs; under TRITON_INTERPRET=1 they run on CPU tensors, slowly, for tests."""

__minillm__ = True
