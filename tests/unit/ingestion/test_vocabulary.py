import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.ingestion import vocabulary


@given(st.text())
def test_no_free_text_passes(text):
    for known in (vocabulary.MODALITIES, vocabulary.BODY_PARTS, vocabulary.VIEWS):
        assert vocabulary.word(text, known) in {*known, "other", None}
    makers = {name for _, name in vocabulary.MANUFACTURERS}
    models = {part.lower().replace(" ", "-") for part in vocabulary.MODELS}
    assert vocabulary.manufacturer(text) in {*makers, "other", None}
    assert vocabulary.model(text) in {*models, "other", None}
    assert vocabulary.age_band(text) in {*vocabulary.AGE_BANDS, "other", None}


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("000D", "0-1"), ("011M", "0-1"), ("012M", "1-5"), ("051W", "0-1"), ("053W", "1-5"),
        ("005Y", "1-5"), ("006Y", "6-12"), ("012Y", "6-12"), ("013Y", "13-17"), ("017Y", "13-17"),
        ("018Y", "18-29"), ("29", "18-29"), ("30", "30-39"), ("089Y", "80-89"), ("090Y", "90+"),
        ("104Y", "90+"), ("45.0", "40-49"), ("1-5y", "1-5"), ("", None), ("old", "other"),
    ],
)  # fmt: skip
def test_ages_fall_into_bands(text, band):
    assert vocabulary.age_band(text) == band


def test_the_age_comes_from_two_dates_where_it_is_not_told():
    assert vocabulary.age_band_between("19600615", "20200614") == "50-59"
    assert vocabulary.age_band_between("19600615", "20200615") == "60-69"
    assert vocabulary.age_band_between("", "20200615") is None
    assert vocabulary.age_band_between("20300101", "20200615") is None
    assert vocabulary.age_band_between("19601399", "20200615") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GE MEDICAL SYSTEMS", "ge"), ("SIEMENS", "siemens"), ("Philips Healthcare", "philips"),
        ("IMAGE INFORMATION CO", "other"), ("", None), (None, None),
    ],
)  # fmt: skip
def test_makers_are_known_by_a_word_of_their_name(text, name):
    assert vocabulary.manufacturer(text) == name


def test_models_are_known_by_how_a_word_begins():
    assert vocabulary.model("LightSpeed16") == "lightspeed"
    assert vocabulary.model("Volume Zoom") == "volume-zoom"
    assert vocabulary.model("Dr. Victor's scanner") == "other"


def test_other_spellings_of_a_word_are_the_same_word():
    assert vocabulary.word("female", vocabulary.SEXES) == "F"
    assert vocabulary.word("Whole Body", vocabulary.BODY_PARTS) == "WHOLEBODY"
