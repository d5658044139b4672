from squeezekit.system.shown_text import shortened, shown, shown_lines


def test_letters_of_every_script_stay() -> None:
    for text in ("Ärger 猫 собака 5 €", "東京\u3000駅", "👩\u200d👧", "می\u200cخواهم", "5\xa0€"):
        assert shown(text) == text


def test_what_a_terminal_would_obey_is_an_escape() -> None:
    assert shown("\x1b[2Jcat\r\n\x07\x9b\u202e") == r"\x1b[2Jcat\x0d\x0a\x07\x9b\u202e"


def test_bytes_of_a_file_name_that_are_not_utf_8_and_lone_surrogates_can_be_printed() -> None:
    assert shown(b"caf\xe9".decode("utf-8", "surrogateescape")) == r"caf\xe9"
    assert shown("\ud800") == r"\ud800"


def test_lines_stay_lines() -> None:
    assert shown_lines("one\ntwo\x1b") == "one\ntwo\\x1b"


def test_a_long_text_is_one_line_that_says_it_goes_on() -> None:
    assert shortened("cat") == "cat"
    assert shortened("a\nb" * 100, 9) == r"a\x0aba\…"
