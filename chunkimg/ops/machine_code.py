"""Machine code from texts in LLVM's own language, where the extra ``[fast]`` (llvmlite) is installed.

It is only ever faster: where llvmlite is missing, or its LLVM cannot be used here, there is none, and NumPy does the
work. A text is compiled once, in about a tenth of a second; numba, which uses the same LLVM, takes ten times as long to
start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["MachineCode", "machine_code"]

_making = threading.Lock()


@dataclass(frozen=True)
class MachineCode:
    """Functions, which run outside the GIL.

    Attributes
    ----------
    functions : dict
        By name; they give nothing back.
    engine : object
        What must live as long as they do.
    """

    functions: Mapping[str, Callable[..., Any]]
    engine: Any


def machine_code(text: str, **signatures: str) -> MachineCode | None:
    """Functions of a text, compiled for this processor; None where that cannot be done.

    Parameters
    ----------
    text : str
        A module in LLVM's assembly language.
    **signatures : str
        For each function its arguments, one letter each: ``p`` for a pointer, ``q`` for an int64.
    """
    # one thread compiles it, others wait for that
    with _making:
        return _made(text, tuple(signatures.items()))


@cache
def _made(text: str, signatures: tuple[tuple[str, str], ...]) -> MachineCode | None:
    try:
        return _compiled(text, signatures)
    except Exception:
        # whatever is the matter with the LLVM found here: it is only faster
        return None


def _compiled(text: str, signatures: tuple[tuple[str, str], ...]) -> MachineCode:
    import ctypes

    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    host = {"cpu": binding.get_host_cpu_name(), "features": binding.get_host_cpu_features().flatten()}
    machine = binding.Target.from_default_triple().create_target_machine(opt=3, **host)
    module = binding.parse_assembly(text)
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kinds = {"p": ctypes.c_void_p, "q": ctypes.c_int64}
    # ctypes releases the GIL while it runs
    functions = {
        name: ctypes.CFUNCTYPE(None, *(kinds[k] for k in arguments))(engine.get_function_address(name))
        for name, arguments in signatures
    }
    return MachineCode(functions, engine)
