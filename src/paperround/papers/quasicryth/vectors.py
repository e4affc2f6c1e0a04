"""What a processor does in a step or two and a loop does not: bits, and rows of numbers at once.

Left to itself the compiler makes vector instructions of such loops in one place and not in the
next. Here they are written down in LLVM's terms, which has an instruction for any processor, and
each beside what it does in plain Python; that is also what runs where numba is switched off.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic

# Numbers in a node of a model's tree, numbers that are searched at once, and those in a row of
# caches.
NODE = 16
CACHE = 64
ROW = 1_024

_BIT, _INT32, _INT64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_NO = ir.Constant(_BIT, 0)


def plain_bit_length(number: Any) -> Any:
    """How many bits a whole number of 0 or more has; 0 has none."""
    return int(number).bit_length()


def plain_n_at_most(nodes: Any, node: Any, limit: Any) -> Any:
    """How many of a node's 16 numbers are at most `limit`."""
    return np.int64((nodes[node] <= limit).sum())


def plain_add_one_from(nodes: Any, node: Any, begin: Any) -> Any:
    """Adds 1 to a node's numbers from `begin` on."""
    nodes[node, begin:] += np.int32(1)
    return np.int64(0)


def plain_first_place(rows: Any, row: Any, begin: Any, number: Any) -> Any:
    """Where a number first stands among the 64 from `begin` on; 64 where it does not."""
    found = np.flatnonzero(rows[row, begin : begin + CACHE] == number)
    return np.int64(found[0]) if len(found) else np.int64(CACHE)


def plain_move_back(rows: Any, row: Any, begin: Any, n: Any) -> Any:
    """Moves n numbers, at most 63, from `begin` on by one place; there is one before `begin`."""
    rows[row, begin + 1 : begin + 1 + n] = rows[row, begin : begin + n].copy()
    return np.int64(0)


def plain_fetch(rows: Any, row: Any) -> Any:
    """Has the processor fetch a row into its cache, for a loop that comes to it soon."""
    return np.int64(0)


@intrinsic
def _bit_length(typing: Any, number: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # Of 0 there are 64 leading zeros, and not just any number.
        return builder.sub(ir.Constant(_INT64, 64), builder.ctlz(arguments[0], _NO))

    return types.int64(types.int64), emit


@intrinsic
def _n_at_most(typing: Any, nodes: Any, node: Any, limit: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, limit = arguments
        place = _address(context, builder, signature, array, row, NODE)
        are = builder.icmp_signed("<=", _load(builder, place, NODE), _all(builder, limit, NODE))
        return builder.zext(builder.ctpop(builder.bitcast(are, ir.IntType(NODE))), _INT64)

    return types.int64(nodes, types.int64, types.int64), emit


@intrinsic
def _add_one_from(typing: Any, nodes: Any, node: Any, begin: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, begin = arguments
        place = _address(context, builder, signature, array, row, NODE)
        after = builder.icmp_signed(">=", _count(NODE), _all(builder, begin, NODE))
        ones = builder.zext(after, ir.VectorType(_INT32, NODE))
        _store(builder, builder.add(_load(builder, place, NODE), ones), place)
        return ir.Constant(_INT64, 0)

    return types.int64(nodes, types.int64, types.int64), emit


@intrinsic
def _first_place(typing: Any, rows: Any, row: Any, begin: Any, number: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, begin, number = arguments
        place = _address(context, builder, signature, array, row, ROW, begin)
        are = builder.icmp_signed("==", _load(builder, place, CACHE), _all(builder, number, CACHE))
        # Without any there are 64 trailing zeros.
        return builder.cttz(builder.bitcast(are, _INT64), _NO)

    return types.int64(rows, types.int64, types.int64, types.int64), emit


@intrinsic
def _move_back(typing: Any, rows: Any, row: Any, begin: Any, n: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, begin, n = arguments
        place = _address(context, builder, signature, array, row, ROW, begin)
        before = builder.gep(place, [ir.Constant(_INT64, -1)])
        is_later = ir.Constant(ir.VectorType(_BIT, CACHE), [0] + [1] * (CACHE - 1))
        is_near = builder.icmp_signed("<=", _count(CACHE), _all(builder, n, CACHE))
        moves = builder.and_(is_near, is_later)
        moved, stays = _load(builder, before, CACHE), _load(builder, place, CACHE)
        _store(builder, builder.select(moves, moved, stays), place)
        return ir.Constant(_INT64, 0)

    return types.int64(rows, types.int64, types.int64, types.int64), emit


@intrinsic
def _fetch(typing: Any, rows: Any, row: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.extract_value(rows.shape, 1)
        place = _address(context, builder, signature, arguments[0], arguments[1], width)
        byte = ir.IntType(8).as_pointer()
        takes = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], takes)
        # To be written to, and kept in every cache; data, and not code.
        how = [ir.Constant(_INT32, number) for number in (1, 3, 1)]
        builder.call(prefetch, [builder.bitcast(place, byte), *how])
        return ir.Constant(_INT64, 0)

    return types.int64(rows, types.int64), emit


def _address(
    context: Any, builder: Any, signature: Any, array: Any, row: Any, width: Any, place: Any = None
) -> Any:
    """Where in memory a number of an array of 32-bit numbers with rows of `width` stands."""
    kind = signature.args[0]
    if kind.ndim != 2 or kind.layout != "C" or kind.dtype != types.int32:
        raise TypeError(f"rows of 32-bit numbers are needed, not {kind}")
    width = ir.Constant(_INT64, width) if isinstance(width, int) else width
    number = builder.mul(row, width)
    if place is not None:
        number = builder.add(number, place)
    return builder.gep(context.make_array(kind)(context, builder, array).data, [number])


def _load(builder: Any, place: Any, n: int) -> Any:
    vector = ir.VectorType(_INT32, n)
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=4)


def _store(builder: Any, numbers: Any, place: Any) -> None:
    builder.store(numbers, builder.bitcast(place, numbers.type.as_pointer()), align=4)


def _all(builder: Any, number: Any, n: int) -> Any:
    """A vector that has the number n times."""
    vector = ir.VectorType(_INT32, n)
    one = builder.insert_element(
        ir.Constant(vector, ir.Undefined), builder.trunc(number, _INT32), ir.Constant(_INT32, 0)
    )
    places = ir.Constant(ir.VectorType(_INT32, n), [0] * n)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), places)


def _count(n: int) -> Any:
    """The vector 0, 1, ..., n - 1."""
    return ir.Constant(ir.VectorType(_INT32, n), list(range(n)))


_IS_PLAIN = bool(vars(config)["DISABLE_JIT"])
bit_length = plain_bit_length if _IS_PLAIN else _bit_length
n_at_most = plain_n_at_most if _IS_PLAIN else _n_at_most
add_one_from = plain_add_one_from if _IS_PLAIN else _add_one_from
first_place = plain_first_place if _IS_PLAIN else _first_place
move_back = plain_move_back if _IS_PLAIN else _move_back
fetch = plain_fetch if _IS_PLAIN else _fetch
