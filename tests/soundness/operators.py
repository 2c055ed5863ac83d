#!/usr/bin/env python3
"""Proves the closed-form operators of kernel-vm's abstract domain at 64 bits with Z3.

Each operator is written down here once more, from its definition in kernel-vm/src/domain,
and the solver is asked for members of the operands whose result is no member of the
operator's result. `unsat` means that there are none, at the full width. Operators without a
closed form (the product's loop, divisions, variable shifts) are tested exhaustively at a
small width and by chance at 64 bits instead.

Needs `pip install z3-solver`. Exits with 1 when a proof fails.
"""
import sys
import time

from z3 import (And, BitVec, BitVecVal, If, Implies, LShR, Not, Or, Solver, UGE, UGT, ULE, ULT,
                ZeroExt, Extract, SignExt, sat, unsat)

W = 64
# What the solver may spend on one claim, in its own count of steps and not in time, so that a
# busy machine proves the same. The hardest takes a tenth of it.
RLIMIT = 100_000_000


def bv(name):
    return BitVec(name, W)


class Tnum:
    """Known bits: `value` where `unknown` is 0; the two never overlap."""

    def __init__(self, value, unknown):
        self.value, self.unknown = value & ~unknown, unknown

    def has(self, x):
        return (x ^ self.value) & ~self.unknown == 0

    def max(self):
        return self.value | self.unknown


def free(name):
    value, unknown = bv(name + ".value"), bv(name + ".unknown")
    return Tnum(value, unknown)


def add(a, b):
    least = a.value + b.value
    differ = (least + (a.unknown + b.unknown)) ^ least
    return Tnum(least, differ | a.unknown | b.unknown)


def sub(a, b):
    base = a.value - b.value
    return Tnum(base, ((base + a.unknown) ^ (base - b.unknown)) | a.unknown | b.unknown)


def and_(a, b):
    ones = a.value & b.value
    return Tnum(ones, (a.max() & b.max()) & ~ones)


def or_(a, b):
    ones = a.value | b.value
    return Tnum(ones, (a.unknown | b.unknown) & ~ones)


def xor(a, b):
    return Tnum(a.value ^ b.value, a.unknown | b.unknown)


def union(a, b):
    return Tnum(a.value, a.unknown | b.unknown | (a.value ^ b.value))


def intersect(a, b):
    return Tnum(a.value | b.value, a.unknown & b.unknown)


class Range:
    """Unsigned and signed bounds of the same number."""

    def __init__(self, umin, umax, smin, smax):
        self.umin, self.umax, self.smin, self.smax = umin, umax, smin, smax

    def has(self, x):
        return And(ULE(self.umin, x), ULE(x, self.umax), self.smin <= x, x <= self.smax)


def free_range(name):
    return Range(*(bv(f"{name}.{part}") for part in ("umin", "umax", "smin", "smax")))


TOP, SMIN, SMAX = BitVecVal(-1, W), BitVecVal(1 << 63, W), BitVecVal((1 << 63) - 1, W)


def range_add(a, b):
    """The wide sums tell whether the narrow ones wrapped."""
    wide = ZeroExt(1, a.umax) + ZeroExt(1, b.umax)
    wraps = Extract(W, W, wide) == 1
    low = SignExt(1, a.smin) + SignExt(1, b.smin)
    high = SignExt(1, a.smax) + SignExt(1, b.smax)
    signed_wraps = Or(low != SignExt(1, a.smin + b.smin), high != SignExt(1, a.smax + b.smax))
    return Range(If(wraps, BitVecVal(0, W), a.umin + b.umin), If(wraps, TOP, a.umax + b.umax),
                 If(signed_wraps, SMIN, a.smin + b.smin), If(signed_wraps, SMAX, a.smax + b.smax))


def range_sub(a, b):
    borrows = ULT(a.umin, b.umax)
    low = SignExt(1, a.smin) - SignExt(1, b.smax)
    high = SignExt(1, a.smax) - SignExt(1, b.smin)
    signed_wraps = Or(low != SignExt(1, a.smin - b.smax), high != SignExt(1, a.smax - b.smin))
    return Range(If(borrows, BitVecVal(0, W), a.umin - b.umax),
                 If(borrows, TOP, a.umax - b.umin),
                 If(signed_wraps, SMIN, a.smin - b.smax), If(signed_wraps, SMAX, a.smax - b.smin))


def sharpen(a, known):
    """Ranges by bits, each order by the other: Bounds::sharpen without the prefix rule."""
    umin = If(UGT(known.value, a.umin), known.value, a.umin)
    umax = If(ULT(known.max(), a.umax), known.max(), a.umax)
    same = ULE(umin, SMAX) == ULE(umax, SMAX)
    smin = If(And(same, umin > a.smin), umin, a.smin)
    smax = If(And(same, umax < a.smax), umax, a.smax)
    signs = (smin < 0) == (smax < 0)
    return Range(If(And(signs, UGT(smin, umin)), smin, umin),
                 If(And(signs, ULT(smax, umax)), smax, umax), smin, smax)


def prove(name, claim):
    solver = Solver()
    solver.set("rlimit", RLIMIT)
    solver.add(Not(claim))
    start = time.time()
    outcome = solver.check()
    said = "proven" if outcome == unsat else "WRONG" if outcome == sat else "not decided"
    print(f"{name:32} {said} in {time.time() - start:.2f} s")
    if outcome == sat:
        print(solver.model())
    return outcome == unsat


def main():
    x, y = bv("x"), bv("y")
    a, b = free("a"), free("b")
    r, s = free_range("r"), free_range("s")
    members = And(a.has(x), b.has(y))
    inside = And(r.has(x), s.has(y))
    claims = [
        ("known bits: sum", Implies(members, add(a, b).has(x + y))),
        ("known bits: difference", Implies(members, sub(a, b).has(x - y))),
        ("known bits: and", Implies(members, and_(a, b).has(x & y))),
        ("known bits: or", Implies(members, or_(a, b).has(x | y))),
        ("known bits: exclusive or", Implies(members, xor(a, b).has(x ^ y))),
        ("known bits: union, first", Implies(a.has(x), union(a, b).has(x))),
        ("known bits: union, second", Implies(b.has(x), union(a, b).has(x))),
        ("known bits: intersection", Implies(And(a.has(x), b.has(x)), intersect(a, b).has(x))),
        ("ranges: sum", Implies(inside, range_add(r, s).has(x + y))),
        ("ranges: and", Implies(inside, And(ULE(x & y, r.umax), ULE(x & y, s.umax)))),
        ("ranges: or", Implies(inside, And(UGE(x | y, r.umin), UGE(x | y, s.umin)))),
        ("sharpening", Implies(And(r.has(x), a.has(x)), sharpen(r, a).has(x))),
        ("branch: <, left", Implies(And(inside, ULT(x, y)), And(s.umax != 0, ULE(x, s.umax - 1)))),
        ("branch: <, right", Implies(And(inside, ULT(x, y)), And(r.umin != TOP, UGE(y, r.umin + 1)))),
        ("branch: <=", Implies(And(inside, ULE(x, y)), And(ULE(x, s.umax), UGE(y, r.umin)))),
        ("branch: s<, left", Implies(And(inside, x < y), And(s.smax != SMIN, x <= s.smax - 1))),
        ("branch: s<, right", Implies(And(inside, x < y), And(r.smin != SMAX, y >= r.smin + 1))),
        ("branch: s<=", Implies(And(inside, x <= y), And(x <= s.smax, y >= r.smin))),
        ("branch: &", Implies(And(inside, x & y != 0), And(UGE(x, 1), UGE(y, 1)))),
    ]
    # One side at a time: all four at once is more than the solver decides.
    d = range_sub(r, s)
    for part, claim in (("umin", ULE(d.umin, x - y)), ("umax", ULE(x - y, d.umax)),
                        ("smin", d.smin <= x - y), ("smax", x - y <= d.smax)):
        claims.append((f"ranges: difference, {part}", Implies(inside, claim)))
    for amount in (1, 31, 63):
        claims.append((f"known bits: << {amount}",
                       Implies(a.has(x), Tnum(a.value << amount, a.unknown << amount).has(x << amount))))
        claims.append((f"known bits: >> {amount}", Implies(
            a.has(x), Tnum(LShR(a.value, amount), LShR(a.unknown, amount)).has(LShR(x, amount)))))
        claims.append((f"known bits: s>> {amount}", Implies(
            a.has(x), Tnum(a.value >> amount, a.unknown >> amount).has(x >> amount))))
    proven = [prove(name, claim) for name, claim in claims]
    print(f"{sum(proven)} of {len(proven)} proven")
    return 0 if all(proven) else 1


if __name__ == "__main__":
    sys.exit(main())
