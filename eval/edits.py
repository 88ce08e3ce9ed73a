"""How many insertions, deletions and substitutions lead from one sequence to another.

Source: Myers 1999, A Fast Bit-Vector Algorithm for Approximate String Matching Based on Dynamic Programming, JACM
46(3), with the score at the end of both as Hyyro 2003 takes it.
"""

from collections.abc import Hashable, Sequence


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Levenshtein distance of characters, words or anything else that can be compared.

    One column of the usual table is two integers of len(a) bits: where the cost rises by one, and where it falls.
    """
    if not a or not b:
        return max(len(a), len(b))
    places: dict[Hashable, int] = {}
    for index, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << index
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    rises, falls, distance = every, 0, len(a)
    for item in b:
        equal = places.get(item, 0)
        keep = equal | falls
        across = (((equal & rises) + rises) ^ rises) | equal
        up = falls | ~(across | rises)
        down = rises & across
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1) | 1, down << 1
        rises = (down | ~(keep | up)) & every
        falls = up & keep & every
    return distance
