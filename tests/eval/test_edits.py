"""The edit distance against the table of its definition."""

import random

from eval.edits import edit_distance


def by_table(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_equals_the_table() -> None:
    draw = random.Random(0)
    for _ in range(200):
        a, b = ("".join(draw.choices("abc ", k=draw.randrange(0, 90))) for _ in range(2))
        assert edit_distance(a, b) == by_table(a, b)


def test_words_are_compared_as_wholes() -> None:
    assert edit_distance(["a", "new", "poster"], ["a", "nwe", "poster"]) == 1
    assert edit_distance("a new poster", "a nwe poster") == 2
    assert edit_distance("", "four") == edit_distance("four", "") == 4
    assert edit_distance("同じ", "同し") == 1
