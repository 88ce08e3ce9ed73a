"""Input number i of a seed: a pure function, so that a number is all that is needed to see an input again."""

from dataclasses import dataclass
from random import Random

from eval.fuzz.corpus import KINDS, MAKERS, Body, Kind
from eval.fuzz.lies import LIES
from eval.fuzz.mutations import mutate


@dataclass(frozen=True, slots=True)
class Sample:
    """One input.

    Attributes:
        index: its number.
        kind: the format that it is, or pretends to be.
        recipe: what was done to it.
        body: the bytes and the headers beside them.
    """

    index: int
    kind: Kind
    recipe: tuple[str, ...]
    body: Body


def sample(seed: int, index: int, kinds: tuple[Kind, ...] = KINDS) -> Sample:
    """Input ``index`` of ``seed``: one in ten as it is, the others lied about, mutated, or both."""
    random = Random(f"{seed}:{index}")
    kind = kinds[index % len(kinds)]
    body, recipe = harm(kind, MAKERS[kind](random), random)
    return Sample(index, kind, recipe, body)


def harm(kind: Kind, body: Body, random: Random) -> tuple[Body, tuple[str, ...]]:
    """A valid body of this format -> what becomes of it, and how."""
    recipe = []
    chance = random.random()
    if chance < 0.45:
        lie = random.choice(LIES[kind])
        body = lie(body, random)
        recipe.append(lie.__name__)
    if 0.3 < chance < 0.9:
        data, names = mutate(body.data, random)
        body = Body(data, body.headers)
        recipe += names
    return body, tuple(recipe)
