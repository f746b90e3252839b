"""The kernels of the neighbour sampler, in Triton. Importing this module needs Triton.

All kernels of a sample are queued at once, for the largest number of nodes and edges that a hop can have. How many
there are is known on the device only: `state`, int64, has three flags, and then in turn the number of nodes before each
hop and the number of its edges. No kernel reads or writes outside its arrays, whatever the seeds and the graph contain.
"""

# ruff: noqa: N803 - Triton's constants are in capitals

from __future__ import annotations

import triton
import triton.language as tl

from ugts_dist.hashing_kernels import GOLDEN, below, mix, stream

BAD_SEEDS = tl.constexpr(0)  # the flags' places in `state`
BAD_INDPTR = tl.constexpr(1)
BAD_INDICES = tl.constexpr(2)
_UNUSED = tl.constexpr(1 << 62)  # above every position


@triton.jit(do_not_specialize=["num_seeds", "num_nodes", "met"])
def enter(
    seeds: tl.tensor,
    nodes: tl.tensor,
    local: tl.tensor,
    state: tl.tensor,
    num_seeds: tl.tensor,
    num_nodes: tl.tensor,
    met: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Number the seeds: `local[seed]` becomes its position. Flags ids outside the graph, and those that occur twice."""
    place = _places(BLOCK)
    inside = place < num_seeds
    seed = tl.load(seeds + place, mask=inside, other=0)
    is_node = inside & (seed >= 0) & (seed < num_nodes)
    node = tl.where(is_node, seed, 0)
    before = tl.atomic_max(local + node, place.to(local.dtype.element_ty), mask=is_node)
    is_new = is_node & (before < 0)
    tl.store(nodes + place, node, mask=inside)
    tl.store(state + BAD_SEEDS, 1, mask=_count(inside) > _count(is_new))
    tl.store(state + met, num_seeds, mask=tl.program_id(0) == 0)


@triton.jit(do_not_specialize=["met", "num_rows", "num_edges"])
def count(
    nodes: tl.tensor,
    indptr: tl.tensor,
    counts: tl.tensor,
    state: tl.tensor,
    met: tl.tensor,
    num_rows: tl.tensor,
    num_edges: tl.tensor,
    FAN: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The number of neighbours that each frontier node draws, `[1 + num_rows]` with a 0 before them."""
    row = _places(BLOCK)
    inside = (row < num_rows) & (row < tl.load(state + met))
    node = tl.load(nodes + row, mask=inside, other=0)
    start = tl.load(indptr + node, mask=inside, other=0)
    end = tl.load(indptr + node + 1, mask=inside, other=0)
    is_row = inside & (start >= 0) & (start <= end) & (end <= num_edges)
    tl.store(state + BAD_INDPTR, 1, mask=_count(inside) > _count(is_row))
    taken = tl.where(is_row, end - start, 0)
    if FAN >= 0:
        taken = tl.minimum(taken, FAN)
    tl.store(counts + row + 1, taken, mask=row < num_rows)
    tl.store(counts, 0, mask=tl.program_id(0) == 0)


@triton.jit(do_not_specialize=["key", "met", "num_rows", "num_nodes", "num_edges"])
def draw(
    nodes: tl.tensor,
    indptr: tl.tensor,
    indices: tl.tensor,
    local: tl.tensor,
    offsets: tl.tensor,
    sources: tl.tensor,
    edges: tl.tensor,
    candidates: tl.tensor,
    state: tl.tensor,
    key: tl.tensor,
    met: tl.tensor,
    num_rows: tl.tensor,
    num_nodes: tl.tensor,
    num_edges: tl.tensor,
    FAN: tl.constexpr,
    WIDTH: tl.constexpr,
    WITH_EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Draw the neighbours of each frontier node: Floyd's algorithm, as in the sampler's torch operations.

    A row of registers has the positions of a node, in the order in which they are drawn, and the place of each in
    ascending order. WIDTH is FAN or the next power of 2. The candidates are `[num_rows, FAN]`.
    """
    row = _places(BLOCK)
    inside = (row < num_rows) & (row < tl.load(state + met))
    node = tl.load(nodes + row, mask=inside, other=0)
    start = tl.load(indptr + node, mask=inside, other=0)
    end = tl.load(indptr + node + 1, mask=inside, other=0)
    is_row = inside & (start >= 0) & (start <= end) & (end <= num_edges)
    degree = tl.where(is_row, end - start, 0)

    column = tl.arange(0, WIDTH)[None, :]
    drawn = tl.full([BLOCK, WIDTH], _UNUSED, tl.int64)
    order = tl.zeros([BLOCK, WIDTH], tl.int32)
    bits = stream(key.to(tl.uint64), node.to(tl.uint64))
    last = degree - FAN
    for number in range(FAN):
        position = below(mix(bits), last + 1)
        is_repeated = tl.max((drawn == position[:, None]).to(tl.int32), axis=1) > 0
        position = tl.where(is_repeated, last, position)
        smaller = tl.sum((drawn < position[:, None]).to(tl.int32), axis=1)
        order = tl.where(column == number, smaller[:, None], order + (drawn > position[:, None]).to(tl.int32))
        drawn = tl.where(column == number, position[:, None], drawn)
        bits = bits + GOLDEN
        last = last + 1

    is_large = (degree > FAN)[:, None]
    position = tl.where(is_large, drawn, column.to(tl.int64))
    order = tl.where(is_large, order, column)
    is_edge = (column < FAN) & (column < degree[:, None])
    edge = start[:, None] + position
    place = tl.load(offsets + row, mask=inside, other=0).to(tl.int64)[:, None] + order
    source = tl.load(indices + edge, mask=is_edge, other=0).to(tl.int64)
    is_source = is_edge & (source >= 0) & (source < num_nodes)
    tl.store(state + BAD_INDICES, 1, mask=_count(tl.sum((is_edge != is_source).to(tl.int32), axis=1) > 0) > 0)
    tl.store(sources + place, tl.where(is_source, source, 0), mask=is_edge)
    if WITH_EDGES:
        tl.store(edges + place, edge, mask=is_edge)
    known = tl.load(local + source, mask=is_source, other=0)
    candidate = tl.where(is_source & (known < 0), source, num_nodes)
    tl.store(candidates + row[:, None] * FAN + column, candidate, mask=(row < num_rows)[:, None] & (column < FAN))


@triton.jit(do_not_specialize=["num_rows", "size", "num_nodes"])
def expand(
    nodes: tl.tensor,
    indptr: tl.tensor,
    indices: tl.tensor,
    local: tl.tensor,
    offsets: tl.tensor,
    sources: tl.tensor,
    edges: tl.tensor,
    candidates: tl.tensor,
    state: tl.tensor,
    num_rows: tl.tensor,
    size: tl.tensor,
    num_nodes: tl.tensor,
    ROUNDS: tl.constexpr,
    WITH_EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All neighbours of each frontier node, `[size]`. Each edge finds its row by bisection, so that hubs are shared.

    `size` is at least 1; ROUNDS is the number of binary digits of `num_rows`.
    """
    place = _places(BLOCK)
    is_edge = place < tl.load(offsets + num_rows)
    low = tl.zeros([BLOCK], tl.int64)
    high = low + num_rows
    for _ in range(ROUNDS):
        middle = (low + high) // 2
        is_right = tl.load(offsets + middle) <= place
        low = tl.where(is_right, middle, low)
        high = tl.where(is_right, high, middle)
    node = tl.load(nodes + low, mask=is_edge, other=0)
    start = tl.load(indptr + node, mask=is_edge, other=0)
    edge = start + place - tl.load(offsets + low, mask=is_edge, other=0)
    source = tl.load(indices + edge, mask=is_edge, other=0).to(tl.int64)
    is_source = is_edge & (source >= 0) & (source < num_nodes)
    tl.store(state + BAD_INDICES, 1, mask=_count(is_edge) > _count(is_source))
    tl.store(sources + place, tl.where(is_source, source, 0), mask=is_edge)
    if WITH_EDGES:
        tl.store(edges + place, edge, mask=is_edge)
    known = tl.load(local + source, mask=is_source, other=0)
    tl.store(candidates + place, tl.where(is_source & (known < 0), source, num_nodes), mask=place < size)


@triton.jit(do_not_specialize=["size", "num_nodes"])
def mark_first(
    candidates: tl.tensor, marks: tl.tensor, size: tl.tensor, num_nodes: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """1 for the first of equal candidates, which are sorted; 0 for the others, and for `num_nodes`, which is none."""
    place = _places(BLOCK)
    inside = place < size
    node = tl.load(candidates + place, mask=inside, other=0)
    before = tl.load(candidates + place - 1, mask=inside & (place > 0), other=-1)
    is_first = (node != before) & (node < num_nodes)
    tl.store(marks + place, is_first.to(tl.int32), mask=inside)


@triton.jit(do_not_specialize=["met", "size", "capacity"])
def append(
    candidates: tl.tensor,
    ranks: tl.tensor,
    nodes: tl.tensor,
    local: tl.tensor,
    state: tl.tensor,
    met: tl.tensor,
    size: tl.tensor,
    capacity: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Append the new nodes, which are the candidates where the running number grows, and number them."""
    place = _places(BLOCK)
    inside = place < size
    rank = tl.load(ranks + place, mask=inside, other=0).to(tl.int64)
    before = tl.load(ranks + place - 1, mask=inside & (place > 0), other=0).to(tl.int64)
    number = tl.load(state + met) + rank - 1
    is_new = inside & (rank > before) & (number < capacity)
    node = tl.load(candidates + place, mask=is_new, other=0).to(tl.int64)
    tl.store(nodes + number, node, mask=is_new)
    tl.store(local + node, number, mask=is_new)
    tl.store(state + met + 2 + place * 0, number + 1, mask=place == size - 1)


@triton.jit(do_not_specialize=["met", "num_rows", "size"])
def relabel(
    sources: tl.tensor,
    local: tl.tensor,
    offsets: tl.tensor,
    state: tl.tensor,
    met: tl.tensor,
    num_rows: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Replace the ids of the edges' sources by their positions in the sample, in place, and write the edges' number."""
    place = _places(BLOCK)
    total = tl.load(offsets + num_rows).to(tl.int64)
    inside = (place < total) & (place < size)
    source = tl.load(sources + place, mask=inside, other=0).to(tl.int64)
    tl.store(sources + place, tl.load(local + source, mask=inside, other=0), mask=inside)
    tl.store(state + met + 1, total, mask=tl.program_id(0) == 0)


@triton.jit(do_not_specialize=["met", "capacity"])
def leave(
    nodes: tl.tensor, local: tl.tensor, state: tl.tensor, met: tl.tensor, capacity: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """Set `local` back to -1 for all nodes of the sample."""
    place = _places(BLOCK)
    inside = (place < tl.load(state + met)) & (place < capacity)
    node = tl.load(nodes + place, mask=inside, other=0)
    tl.store(local + node, -1, mask=inside)


@triton.jit
def _places(BLOCK: tl.constexpr) -> tl.tensor:
    """The elements of this program, int64."""
    return tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _count(condition: tl.tensor) -> tl.tensor:
    return tl.sum(condition.to(tl.int32), axis=0)
