# SPDX-License-Identifier: Apache-2.0
"""The study of dates learns in small, translates from its file alone, and its data say what its page claims."""

import re
import sys
from collections import defaultdict
from datetime import date
from typing import Any

import keras
import numpy as np
import pytest

import gatewise.keras  # noqa: F401  # a model's file names its layer
from gatewise.data.preprocessing import find_preprocessing
from own_process import FRAMEWORKS, HIDE, run
from study_case import EXAMPLES, ROOT, Ran, needs_tensorflow, run_study

pytestmark = needs_tensorflow


@pytest.fixture(scope="module")
def dates() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import dates

        yield dates
    for name in ("dates", "study"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_study("dates", tmp_path_factory.mktemp("dates"))


def test_the_translator_learns_dates_that_it_has_not_seen(ran: Ran) -> None:
    assert ran.facts["GRU"]["exact"][0] > 40, "percent exact; chance is one in 73,000"
    assert ran.facts["rules, language told"]["exact"] == [100.0]


def test_the_saved_translator_reads_a_date_with_what_is_in_its_file(ran: Ran) -> None:
    translator = keras.saving.load_model(ran.out / "dates.keras")
    kept = find_preprocessing(translator)
    characters, looked = translator.predict(kept["written"](["1. Oktober 2003", "1. Mai 2003"]), verbose=0)
    isos = kept["iso"].decode(characters)
    assert all(re.fullmatch(r"[\d>-]{10}", iso) for iso in isos), isos
    assert looked.shape == (2, 10, 15)
    np.testing.assert_allclose(looked.sum(axis=-1), 1, rtol=1e-5)
    assert (looked[1, :, len("1. Mai 2003") :] == 0).all(), "the padding is looked at"


def test_the_lines_of_the_page_translate_without_a_framework_as_keras_does(dates: Any, ran: Ran) -> None:
    [lines] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "dates.md").read_text(encoding="utf-8"), re.DOTALL)
    days = [date(1900 + 7 * i, 1 + i % 12, 1 + i) for i in range(28)]
    texts = [*dates.make_pairs(days, ["en", "de", "el"], np.random.default_rng(3)).texts, "", "๛๛๛"]
    translator = keras.saving.load_model(ran.out / "dates.keras")
    kept = find_preprocessing(translator)
    expected = kept["iso"].decode(translator.predict(kept["written"](texts), verbose=0)[0])
    assert len(set(expected)) > 28
    found = run(f"{HIDE.format(FRAMEWORKS)}\n{lines}\nprint(json.dumps(translate({texts!r})))", ran.out)
    assert found == expected


def test_an_empty_text_and_unknown_letters_give_ten_characters(ran: Ran) -> None:
    translator = keras.saving.load_model(ran.out / "dates.keras")
    kept = find_preprocessing(translator)
    characters, looked = translator.predict(kept["written"](["", "๛๛๛"]), verbose=0)
    assert characters.shape == (2, 10)
    assert np.isfinite(looked).all()


def test_no_writing_means_two_dates(dates: Any) -> None:
    meanings = defaultdict(set)
    days = [date(2004, month, day) for month in range(1, 13) for day in (month, month % 12 + 1, 11, 31 - month)]
    days += [date(year, 2, 3) for year in (1904, 2002, 2003)]
    for day in days:
        for language in dates.LANGUAGES.split():
            for form in dates.FORMATS + dates.SKELETONS:
                meanings[dates.write(day, language, form)].add(day)
    assert len(meanings) > 5000
    assert {text: days for text, days in meanings.items() if len(days) > 1} == {}


def test_a_date_is_written_in_every_language_and_nowhere_else(dates: Any) -> None:
    pairs = dates.make_pairs([date(2003, 10, 1), date(1999, 12, 31)], ["en", "ja"], np.random.default_rng(0))
    assert pairs.languages == ["en", "ja"] * 2
    assert pairs.isos == [">2003-10-01"] * 2 + [">1999-12-31"] * 2


@pytest.mark.parametrize(
    ("text", "language", "iso"),
    [
        ("Wednesday, October 1, 2003", "en", "2003-10-01"),
        ("1. 10. 2003.", "sr", "2003-10-01"),
        ("2003年10月1日星期三", "zh", "2003-10-01"),
        ("Th 4, 1 thg 10, 2003", "vi", "2003-10-01"),
        ("1 באוקטובר 2003", "he", "2003-10-01"),
        ("01\u200f/10\u200f/2003", "ar", "2003-10-01"),
        ("mar 4 nov 2003", "it", "2003-11-04"),
        ("1. listopada 2003.", "hr", "2003-10-01"),
        ("1 listopada 2003", "pl", "2003-11-01"),
        ("", "en", ""),
        ("no date in 2003", "en", ""),
    ],
)
def test_the_rules_read(dates: Any, text: str, language: str, iso: str) -> None:
    assert dates.read_by_rules(text, dates.month_names([language])) == iso


def test_the_page_names_as_many_languages_as_there_are(dates: Any) -> None:
    languages = dates.LANGUAGES.split()
    assert len(set(languages)) == len(languages)
    assert f"# Dates of {len(languages)} languages" in (ROOT / "docs" / "dates.md").read_text(encoding="utf-8")
