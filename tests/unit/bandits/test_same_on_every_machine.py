"""All additive policies compute the same bits, whatever the processor can do and however many threads there are."""

import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.bandits_fingerprint import POLICIES, fingerprint

ROOT = Path(__file__).parents[3]
umath: Any = importlib.import_module("numpy._core._multiarray_umath")
VECTOR_UNITS = " ".join(name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name))
"""The vector units that numpy uses here beyond those that it always needs."""
# The names of kernels are those of x86; elsewhere OpenBLAS ignores them, and the other ways remain.
MACHINES = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"},
    "haswell, two threads": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
    "sandybridge": {"OPENBLAS_CORETYPE": "Sandybridge", "OPENBLAS_NUM_THREADS": "1"},
    "nehalem": {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2"},
    "numpy without vector units": {"NPY_DISABLE_CPU_FEATURES": VECTOR_UNITS},
    "no compiled kernels": {"NEXTBEST_COMPILED": "0"},
    "libm without vector units": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX"},
}


@cache
def fingerprints_here() -> dict[str, str]:
    return {name: fingerprint(name) for name in POLICIES}


def fingerprints(machine: str) -> dict[str, str]:
    command = [sys.executable, "-m", "tests.support.bandits_fingerprint"]
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **MACHINES[machine]},
        capture_output=True,
        check=True,
        timeout=120,
    )
    result: dict[str, str] = json.loads(found.stdout)
    return result


@pytest.mark.parametrize("machine", MACHINES)
def test_every_policy_computes_the_same_bits_on_every_machine(machine: str) -> None:
    here, there = fingerprints_here(), fingerprints(machine)

    assert [name for name in POLICIES if there[name] != here[name]] == []
