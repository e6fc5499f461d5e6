"""A settings file that people edit too."""

from hypothesis import given
from hypothesis import strategies as st

from ops.setup import settings_file
from ops.setup.settings_file import changed, merged

HAND_MADE = """\
# my notes
SENTRY_DSN=https://key@sentry.example.com/1   # kept

export DOMAINS=old.example.com
LIMIT_GENERAL='200/60'
"""


def test_what_others_wrote_stays_and_a_setting_changes_in_its_own_line() -> None:
    text = merged(HAND_MADE, {"DOMAINS": "new.example.com", "EDGE_WORKERS": "2"}, {"EDGE_WORKERS": "Processes."})
    assert text == HAND_MADE.replace("export DOMAINS=old.example.com", "DOMAINS=new.example.com") + (
        "\n# Processes.\nEDGE_WORKERS=2\n"
    )


def test_a_second_time_nothing_changes() -> None:
    wanted = {"DOMAINS": "a.example.com", "ALERT_HOOK": "/opt/my hooks/it's.sh"}
    once = merged(HAND_MADE, wanted, {})
    assert merged(once, wanted, {}) == once
    assert changed(HAND_MADE, wanted) == ["DOMAINS", "ALERT_HOOK"]
    assert changed(once, wanted) == []


def test_of_several_lines_the_one_that_counts_is_set() -> None:
    text = "ALERT_HOOK=/one\nDOMAINS=a\nALERT_HOOK=/two\n"
    assert merged(text, {"ALERT_HOOK": "/three"}, {}) == "ALERT_HOOK=/one\nDOMAINS=a\nALERT_HOOK=/three\n"


def test_an_empty_answer_removes_nothing() -> None:
    assert merged(HAND_MADE, {"SENTRY_DSN": "", "DOMAINS": ""}, {}) == HAND_MADE


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="$"), min_size=1))
def test_any_value_is_read_back_as_it_was_written(value: str) -> None:
    assert settings_file.values(merged("A=1\n", {"NAME": value}, {})) == {"A": "1", "NAME": value}
