"""What a request says of decoding is plain data that names its own passes."""

from service.engine.decoding import AS_IT_IS, Decoding


def test_passes_of_another_number_of_steps_have_a_name_of_their_own() -> None:
    assert AS_IT_IS.pass_name("decode") == "decode"
    assert Decoding(num_tokens=3, seed=7).pass_name("decode") == "decode"
    assert Decoding(num_steps=8).pass_name("decode") == "decode in 8 steps"


def test_equal_wishes_are_equal_and_can_be_keys() -> None:
    assert len({Decoding(seed=1), Decoding(seed=1), Decoding(seed=2), AS_IT_IS}) == 3
