"""Builds csrc/ (plain C ABI, loaded by ctypes). Without a compiler the install goes on with NumPy fallbacks."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "megatron_snow._data",
            sources=sorted(glob("csrc/data/*.cpp")),
            depends=sorted(glob("csrc/data/*.h")),
            extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden"],
            optional=True,  # a warning, not an error; `megatron-snow doctor` says what is missing
        )
    ]
)
