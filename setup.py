"""The extension module: every file of csrc/ and the Cython door to them, with OpenMP where the compiler has it."""

import os
import subprocess
import sys
import tempfile
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PROBE = """
#include <omp.h>
int main(void) { int n = 0;
#pragma omp parallel reduction(+ : n)
n += 1;
return n < 1 || omp_get_max_threads() < 1; }
"""
OPENMP_FLAGS = [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])]


def openmp_flags(compiler):
    """Compile and link flags of the first way to OpenMP that builds a program which runs, or ([], [])."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.c")
        with open(source, "w") as f:
            f.write(PROBE)
        for compile_flags, link_flags in OPENMP_FLAGS:
            try:
                objects = compiler.compile([source], output_dir=folder, extra_postargs=compile_flags)
                program = os.path.join(folder, "probe")
                compiler.link_executable(objects, program, extra_postargs=link_flags)
                subprocess.run([program], check=True, timeout=60)
                return compile_flags, link_flags
            except Exception:  # whatever a foreign compiler raises, OpenMP is then not to be had this way
                continue
    return [], []


class BuildWithOpenMP(build_ext):
    def build_extensions(self):
        compile_flags, link_flags = openmp_flags(self.compiler)
        if not compile_flags:
            print("pycnn: this compiler has no OpenMP; the module will run on one thread", file=sys.stderr)
        for extension in self.extensions:
            # Python's own -fwrapv makes GCC 12 crash on the 128-bit kernels; nothing here relies on it.
            extension.extra_compile_args += ["-std=gnu11", "-O3", "-fno-wrapv", "-g0", *compile_flags]
            extension.extra_link_args += link_flags
        super().build_extensions()


setup(
    ext_modules=[
        Extension(
            "pycnn._kernels",
            ["pycnn/_kernels.pyx", "csrc/runtime.c", *sorted(glob("csrc/variants/*.c"))],
            include_dirs=["csrc"],
            depends=["csrc/pycnn.h", *sorted(glob("csrc/isa/*.h") + glob("csrc/kernels/*.h"))],
        )
    ],
    cmdclass={"build_ext": BuildWithOpenMP},
)
