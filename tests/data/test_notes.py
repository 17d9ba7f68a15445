from normlab.data.notes import note_once, shortened


def test_a_note_is_printed_once(capsys):
    for text in ("the first", "the second", "the first"):
        note_once(text)
    assert capsys.readouterr().err == "note: the first\nnote: the second\n"


def test_long_lists_are_shortened():
    assert shortened(list("abcde")) == "a, b, c, d, e"
    assert shortened(list("abcdef")) == "a, b, c, d, e, ..."
