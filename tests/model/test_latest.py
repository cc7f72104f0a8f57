"""What was used last stays."""

from styleserve.model.latest import Latest


def test_the_one_not_used_for_longest_goes():
    latest = Latest(size=2)
    latest.write("first", 1)
    latest.write("second", 2)
    latest.read("first")
    latest.write("third", 3)
    assert [latest.read(key) for key in ("first", "second", "third")] == [1, None, 3]
    assert [key in latest for key in ("first", "second", "third")] == [True, False, True]


def test_a_value_written_again_is_the_newest():
    latest = Latest(size=2)
    latest.write("first", 1)
    latest.write("second", 2)
    latest.write("first", 3)
    latest.write("third", 4)
    assert [latest.read(key) for key in ("first", "second", "third")] == [3, None, 4]
