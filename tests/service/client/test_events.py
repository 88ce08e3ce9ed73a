"""Event streams, line by line, as the standard reads them."""

from service.client.events import Event, EventReader


def read(text: str) -> list[Event]:
    reader = EventReader()
    found = [reader.feed(line) for line in text.split("\n")]
    return [event for event in found if event is not None]


def test_name_and_data() -> None:
    assert read('event: progress\ndata: {"step": 1}\n\n') == [Event("progress", '{"step": 1}')]


def test_several_lines_of_data_are_one_text() -> None:
    assert read("data: a\ndata:b\ndata\n\n") == [Event("message", "a\nb\n")]


def test_comments_and_unknown_fields_say_nothing() -> None:
    assert read(": still here\n\nretry: 5\nid: 7\n\ndata: x\n\n") == [Event("message", "x")]


def test_a_name_holds_for_one_event_and_what_is_cut_short_is_none() -> None:
    assert read("event: a\ndata: 1\n\ndata: 2\n\nevent: b\ndata: 3") == [
        Event("a", "1"),
        Event("message", "2"),
    ]


def test_only_one_space_is_taken_away() -> None:
    assert read("data:  x: y\n\n") == [Event("message", " x: y")]
