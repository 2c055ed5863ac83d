#!/usr/bin/env python3
"""Writes the tables of this directory: what RFC 9669 says, computed in Python's integers.

An oracle of its own: nothing here is shared with the machine. Run it and compare with git.
"""
import itertools
import pathlib

HERE = pathlib.Path(__file__).parent
M64, M32 = (1 << 64) - 1, (1 << 32) - 1
EDGES = [0, 1, 2, 7, 31, 63, 0x7FFFFFFF, 0x80000000, M32, 1 << 32,
         (1 << 63) - 1, 1 << 63, M64 - 1, M64, 0x123456789ABCDEF0]
FEW = [0, 1, 0x80000000, M32, 1 << 63, M64, 0x123456789ABCDEF0]
IMMS = [1, 3, -1, -8, 0x7FFFFFFF, -0x80000000]


def signed(x, bits):
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def quotient(a, b):
    """Toward zero."""
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def alu(op, a, b, bits):
    m = (1 << bits) - 1
    a, b = a & m, b & m
    sa, sb, amount = signed(a, bits), signed(b, bits), b & (bits - 1)
    return {
        "+=": lambda: a + b, "-=": lambda: a - b, "*=": lambda: a * b,
        "|=": lambda: a | b, "&=": lambda: a & b, "^=": lambda: a ^ b,
        "/=": lambda: a // b if b else 0, "%=": lambda: a % b if b else a,
        "s/=": lambda: quotient(sa, sb) if b else 0,
        "s%=": lambda: sa - sb * quotient(sa, sb) if b else a,
        "<<=": lambda: a << amount, ">>=": lambda: a >> amount, "s>>=": lambda: sa >> amount,
        "=": lambda: b,
    }[op]() & m


def holds(cond, a, b, bits):
    m = (1 << bits) - 1
    a, b = a & m, b & m
    sa, sb = signed(a, bits), signed(b, bits)
    return int({
        "==": a == b, "!=": a != b, ">": a > b, ">=": a >= b, "<": a < b, "<=": a <= b,
        "&": a & b != 0, "s>": sa > sb, "s>=": sa >= sb, "s<": sa < sb, "s<=": sa <= sb,
    }[cond])


def table(name, head, insns):
    lines = [f"# {head} Written by tables.py."]
    for insn, rows in insns:
        lines.append(f"insn {insn}")
        lines += [f"  {a:#x} {b:#x} -> {r:#x}" for a, b, r in rows]
    (HERE / name).write_text("\n".join(lines) + "\n")


OPS = ["+=", "-=", "*=", "/=", "s/=", "%=", "s%=", "|=", "&=", "^=", "<<=", ">>=", "s>>=", "="]
CONDS = ["==", "!=", ">", ">=", "<", "<=", "&", "s>", "s>=", "s<", "s<="]
PAIRS = list(itertools.product(EDGES, EDGES))[::3] + [(1 << 63, M64), (0x80000000, M32)]


def alu_insns():
    for bits, r in ((64, "r"), (32, "w")):
        for op in OPS:
            yield f"{r}0 {op} {r}1", [(a, b, alu(op, a, b, bits)) for a, b in PAIRS]
            for imm in ([1, 7, bits - 1] if "<<" in op or ">>" in op else IMMS):
                rows = [(a, 0, alu(op, a, imm & M64, bits)) for a in FEW]
                yield f"{r}0 {op} {imm}", rows


def jump_insns():
    for bits, r in ((64, "r"), (32, "w")):
        for cond in CONDS:
            yield f"if {r}0 {cond} {r}1 goto", [(a, b, holds(cond, a, b, bits)) for a, b in PAIRS]
            for imm in IMMS:
                rows = [(a, 0, holds(cond, a, imm & M64, bits)) for a in FEW]
                yield f"if {r}0 {cond} {imm} goto", rows


def unary_insns():
    def swap(x, n):
        return int.from_bytes((x & ((1 << n) - 1)).to_bytes(n // 8, "little"), "big")
    for n in (16, 32, 64):
        yield f"r0 = le{n} r0", [(a, 0, a & ((1 << n) - 1)) for a in EDGES]
        yield f"r0 = be{n} r0", [(a, 0, swap(a, n)) for a in EDGES]
        yield f"r0 = bswap{n} r0", [(a, 0, swap(a, n)) for a in EDGES]
    yield "r0 = -r0", [(a, 0, -a & M64) for a in EDGES]
    yield "w0 = -w0", [(a, 0, -a & M32) for a in EDGES]
    for n in (8, 16, 32):
        yield f"r0 = (s{n})r1", [(0, b, signed(b, n) & M64) for b in EDGES]
        if n < 32:
            yield f"w0 = (s{n})w1", [(0, b, signed(b, n) & M32) for b in EDGES]


table("alu.txt", "Arithmetic, both widths: r0, r1, and r0 after the insn.", alu_insns())
table("jump.txt", "Comparisons, both widths: r0, r1, and whether the jump is taken.", jump_insns())
table("unary.txt", "Byte order, negation and sign: r0, r1, and r0 after the insn.", unary_insns())
