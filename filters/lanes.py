"""Steps that numba has no words for: 64 bytes at once, unaligned words, bits, wide products.

Written as LLVM's vectors and wide integers, which it maps to what the processor has.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTES = ir.VectorType(ir.IntType(8), 64)
_BITS = ir.VectorType(ir.IntType(1), 64)
_WORD = ir.IntType(64)


def _splat(value: int) -> Any:
    return ir.Constant(_BYTES, [value] * 64)


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any, to: Any) -> Any:
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [at], inbounds=True), to.as_pointer())


def _lane(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


@_lane
def fold_block(typing: Any, source: Any, at: Any, out: Any, held: Any, lower: Any) -> Any:
    """Copy 64 bytes from source[at:] to out[held:], with `lower` set in ASCII capitals; bit k of
    the three integers given is whether byte k is an ASCII letter or digit, whether it is another
    that can be seen, and whether it is no ASCII."""
    masks = types.UniTuple(types.uint64, 3)  # type: ignore[no-untyped-call]
    signature = masks(source, types.uint64, out, types.uint64, types.uint8)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        block = builder.load(
            _address(context, builder, kinds[0], args[0], args[1], _BYTES), align=1
        )

        def within(first: int, last: int) -> Any:
            moved = builder.sub(block, _splat(first))
            return builder.icmp_unsigned("<=", moved, _splat(last - first))

        capital = within(65, 90)
        word = builder.or_(capital, builder.or_(within(97, 122), within(48, 57)))
        seen = builder.and_(within(33, 126), builder.not_(word))
        beyond = builder.icmp_signed("<", block, _splat(0))
        bit = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), args[4], ir.IntType(32)(0))
        same = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        bits = builder.shuffle_vector(bit, ir.Constant(_BYTES, ir.Undefined), same)
        folded = builder.or_(block, builder.select(capital, bits, _splat(0)))
        place = _address(context, builder, kinds[2], args[2], args[3], _BYTES)
        builder.store(folded, place, align=1)
        masks = [builder.bitcast(mask, _WORD) for mask in (word, seen, beyond)]
        return context.make_tuple(builder, signature.return_type, masks)

    return signature, generate


@_lane
def load_word(typing: Any, source: Any, at: Any) -> Any:
    """Eight bytes from source[at:] as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(context, builder, signature.args[0], args[0], args[1], _WORD)
        return builder.load(place, align=1)

    return types.uint64(source, types.uint64), generate


@_lane
def first_bit(typing: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return types.uint64(types.uint64), generate


@_lane
def count_bits(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


@_lane
def fold_product(typing: Any, a: Any, b: Any) -> Any:
    """The upper half of the product of two integers, exclusive or its lower half."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        upper = builder.trunc(builder.lshr(product, wide(64)), _WORD)
        return builder.xor(upper, builder.trunc(product, _WORD))

    return types.uint64(types.uint64, types.uint64), generate
