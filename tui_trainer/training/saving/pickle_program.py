"""The program of a pickle, read without running it: which names it uses, and what it would build.

A state dict needs an ordered dictionary, torch's functions that rebuild tensors, and its storages. Anything else is
refused before `torch.load` sees it.
"""

import io
import pickletools
from collections.abc import Container, Iterator

import torch

from tui_trainer.text import clean

_ORDERED_DICT = "collections OrderedDict"
_REBUILDS = {
    "torch._utils _rebuild_tensor_v2": 6,
    "torch._utils _rebuild_tensor_v3": 7,
    "torch._utils _rebuild_parameter": 3,
}
"""What makes a tensor of a storage, or a parameter of a tensor, and with how many arguments."""

_KINDS = "Double Float Half BFloat16 Long Int Short Char Byte Bool ComplexDouble ComplexFloat"
_STORAGES = {"torch.storage UntypedStorage", *(f"torch {kind}Storage" for kind in _KINDS.split())}


def refusal(name: str) -> str:
    return (
        f"holds a Python object ({clean(name, 80)}) and not only numbers; tui-trainer refuses it. "
        "Export the weights as a state dict."
    )


def _is_known(name: str) -> bool:
    """True for the few names a state dict needs, as `module name`; torch itself allows more, some of which allocate."""
    module, _, attribute = name.partition(" ")
    return (
        name == _ORDERED_DICT
        or name in _REBUILDS
        or name in _STORAGES
        or (module == "torch" and isinstance(vars(torch).get(attribute), torch.dtype))  # getattr would import modules
    )


def foreign(pickle: bytes) -> str | None:
    """The first thing beyond plain numbers that a pickle names, as `module.name`; nothing is unpickled.

    None as well for bytes that are no pickle. Several pickles may follow each other, as PyTorch wrote them before 1.6.
    """
    stream = io.BytesIO(pickle)
    first = None
    try:
        while first is None and stream.tell() < len(pickle):
            for name in _names(stream):
                if first is None and not _is_known(name):
                    first = name.replace(" ", ".").replace("__builtin__", "builtins")
    except Exception:
        return first if pickle.startswith(b"\x80") else None  # a text may begin like a pickle, but never ends like one
    return first


def _names(stream: io.BytesIO) -> Iterator[str]:
    """What the next pickle in `stream` takes from modules, as `module name`."""
    memo: dict[object, object] = {}
    before, top = None, None  # the two strings that were pushed last
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif opcode.name == "STACK_GLOBAL":
            yield f"{before} {top}"
        if opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = top
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = top
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
            before, top = top, memo.get(argument)
        elif opcode.stack_after:
            before, top = top, argument


class _Global(str):
    """What a pickle takes from a module, as `module name`."""

    __slots__ = ()


_MAPPING, _STORAGE, _TENSOR = object(), object(), object()


def rehearse(program: bytes, parts: Container[str]) -> None:
    """Follow a pickle without making anything: it holds only what a save writes, and tensors of parts that are there.

    torch's own reader would also copy one dict a thousand times, or make an array of any size.

    Raises:
        ValueError: something else is in it.
    """
    stack: list[object] = []
    marked: list[list[object]] = []
    memo: dict[object, object] = {}
    for opcode, argument, _ in pickletools.genops(program):
        match opcode.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append(None)
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                marked.append(stack)
                stack = []
            case "TUPLE":
                items, stack = tuple(stack), marked.pop()
                stack.append(items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(_popped(stack, int(opcode.name[-1])))
            case "APPEND":
                _popped(stack, 1)
            case "SETITEM":
                _popped(stack, 2)
            case "APPENDS" | "SETITEMS":
                stack = marked.pop()
            case "GLOBAL":
                stack.append(_Global(argument))
            case "BINPERSID":
                stack[-1] = _stored(stack[-1], parts)
            case "REDUCE":
                function, arguments = _popped(stack, 2)
                stack.append(_made(function, arguments))
            case "BUILD":
                _popped(stack, 1)
                if stack[-1] is not _MAPPING:
                    raise ValueError("attributes of something else than a dict")
            case "PROTO" if argument == 2:
                pass
            case "STOP":
                return
            case other:
                raise ValueError(other)
    raise ValueError("no end")


def _popped(stack: list[object], count: int) -> tuple[object, ...]:
    if len(stack) < count:
        raise ValueError("nothing there to take")
    items = tuple(stack[-count:])
    del stack[-count:]
    return items


def _stored(identity: object, parts: Container[str]) -> object:
    match identity:
        case ("storage", _Global() as kind, str() as key, str(), int()) if kind in _STORAGES and f"data/{key}" in parts:
            return _STORAGE
    raise ValueError(identity)


def _made(function: object, arguments: object) -> object:
    if isinstance(function, _Global) and isinstance(arguments, tuple):
        if function == _ORDERED_DICT and not arguments:
            return _MAPPING
        source = _TENSOR if function.endswith("_rebuild_parameter") else _STORAGE
        if len(arguments) == _REBUILDS.get(function) and arguments[0] is source:
            return _TENSOR
    raise ValueError(function)
